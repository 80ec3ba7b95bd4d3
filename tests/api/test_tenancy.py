"""A tenant cannot tell another's responses, conversations, items and sealed content from ones that do not exist.

Every route of the application is tried; a new one without a case here fails.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from api.app import create_app
from shared.api_keys import entry_of, new_key
from shared.schema.ids import item_id, new_id
from shared.settings import Settings
from tests.api.keys import ALICE, ALICE_NEW, BOB, ENTRIES, bearer
from tests.api.sockets import Socket
from tests.conftest import StackFactory
from tests.stack import MODEL, Stack
from tests.waiting import until
from workers.engine.scripted import Script

SOCKET = ("GET", "/v1/responses")  # see test_a_socket_continues_nothing_of_another_tenant
ROUTES = sorted(
    (route.method, route.resource.canonical)
    for route in create_app(Settings()).router.routes()
    if route.resource is not None
)
NOBODYS = {"/healthz", "/readyz", "/v1/models", "/v1/models/{name}"}
"""What says the same to every tenant."""


@dataclass(frozen=True)
class Things:
    """What a request may name."""

    response: str
    running: str
    unstored: str
    conversation: str
    item: str  # of the conversation
    output: str  # an item of the response
    question: str
    reasoning: str  # sealed
    compaction: str


@dataclass(frozen=True)
class Probe:
    """A request that names one thing."""

    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class World:
    stack: Stack
    alices: Things
    socket: Socket
    gate: asyncio.Event

    async def ask(self, method: str, probe: Probe, key: str) -> tuple[int, Any]:
        """The status and the body, decoded where it is JSON."""
        async with self.stack.http.request(
            method, self.stack.url + probe.path, json=probe.body, headers={**bearer(key), **probe.headers}
        ) as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json" and text
            return answer.status, json.loads(text) if is_json else text

    async def seen_by_alice(self) -> list[Any]:
        things = self.alices
        paths = [
            f"/v1/responses/{things.response}",
            f"/v1/responses/{things.response}?stream=true",
            f"/v1/responses/{things.response}/input_items",
            f"/v1/responses/{things.running}",
            f"/v1/conversations/{things.conversation}",
            f"/v1/conversations/{things.conversation}/items",
        ]
        return [await self.ask("GET", Probe(path), ALICE) for path in paths]


@pytest.fixture
async def world(make_stack: StackFactory) -> AsyncIterator[World]:
    """Alice has one of everything."""
    stack = await make_stack(api_keys=ENTRIES, encryption_key="a secret of the deployment")
    gate = asyncio.Event()
    post: Callable[..., Any] = lambda path, **body: _made(stack, path, body)  # noqa: E731
    stack.engine.play(Script("<think>hidden</think>", "an answer"), Script("a summary"))
    first = await post("/v1/responses", input="a question", include=["reasoning.encrypted_content"])
    compacted = await post("/v1/responses/compact", input="something long")
    conversation = await post("/v1/conversations", items=[{"role": "user", "content": "kept"}])
    items, socket = await _items(stack, conversation["id"]), await Socket.open(stack, headers=bearer(ALICE))
    questions = await _items(stack, first["id"], "responses", "input_items")
    unstored = (await socket.ask(input="Hi", store=False))[-1]["response"]["id"]
    stack.engine.play(Script("half", gate, " whole"))
    running = await post("/v1/responses", input="long", background=True)
    await until(lambda: len(stack.engine.requests) == 4)
    things = Things(
        response=first["id"],
        running=running["id"],
        unstored=unstored,
        conversation=conversation["id"],
        item=items[0]["id"],
        output=first["output"][1]["id"],
        question=questions[0]["id"],
        reasoning=first["output"][0]["encrypted_content"],
        compaction=compacted["output"][1]["encrypted_content"],
    )
    yield World(stack, things, socket, gate)
    gate.set()
    await socket.close()


async def _made(stack: Stack, path: str, body: dict[str, Any]) -> Any:
    body = body if path.startswith("/v1/conversations") else {"model": MODEL, **body}
    async with stack.http.post(stack.url + path, json=body, headers=bearer(ALICE)) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def _items(stack: Stack, identifier: str, kind: str = "conversations", what: str = "items") -> list[Any]:
    async with stack.http.get(f"{stack.url}/v1/{kind}/{identifier}/{what}", headers=bearer(ALICE)) as answer:
        found: list[Any] = (await answer.json())["data"]
        return found


def made_up(things: Things) -> Things:
    """Things of the same form that are nobody's."""
    response = new_id("resp")
    return Things(
        response=response,
        running=new_id("resp"),
        unstored=new_id("resp"),
        conversation=new_id("conv"),
        item=new_id("msg"),
        output=item_id("msg", response, 0x8001),
        question=item_id("msg", response, 0),
        reasoning=_changed(things.reasoning),
        compaction=_changed(things.compaction),
    )


def _changed(sealed: str) -> str:
    return sealed[:40] + ("B" if sealed[40] == "A" else "A") + sealed[41:]


def inputs(things: Things) -> Iterable[dict[str, Any]]:
    """Everything that a request's body may name of somebody else's."""
    user = {"role": "user", "content": "Hi"}
    yield {"previous_response_id": things.response, "input": "Hi"}
    yield {"previous_response_id": things.running, "input": "Hi"}
    yield {"previous_response_id": things.unstored, "input": "Hi"}
    yield {"conversation": things.conversation, "input": "Hi"}
    yield {"conversation": {"id": things.conversation}, "input": "Hi"}
    for identifier in (things.output, things.question, things.item):
        yield {"input": [{"type": "item_reference", "id": identifier}, user]}
        yield {"input": [{"id": identifier}, user]}
    yield {"input": [{"type": "reasoning", "summary": [], "encrypted_content": things.reasoning}, user]}
    yield {"input": [{"type": "compaction", "encrypted_content": things.compaction}, user]}


def creations(path: str) -> Callable[[Things], Iterable[Probe]]:
    def probes(things: Things) -> Iterable[Probe]:
        for body in inputs(things):
            if path == "/v1/responses/compact" and "conversation" in body:
                continue  # it takes none
            yield Probe(path, {"model": MODEL, **body})
            if path == "/v1/responses":
                yield Probe(path, {"model": MODEL, "stream": True, **body})

    return probes


def of_response(form: str, **more: Any) -> Callable[[Things], Iterable[Probe]]:
    return lambda things: [Probe(form.format(id=id_), **more) for id_ in (things.response, things.running)]


def retrievals(things: Things) -> Iterable[Probe]:
    for query in ("", "?stream=true", "?stream=true&starting_after=0", "?include=reasoning.encrypted_content"):
        for identifier in (things.response, things.running):
            yield Probe(f"/v1/responses/{identifier}{query}")


def of_conversation(form: str, body: Any = None) -> Callable[[Things], Iterable[Probe]]:
    return lambda things: [Probe(form.format(id=things.conversation, item_id=things.item), body)]


def new_items(path: str) -> Callable[[Things], Iterable[Probe]]:
    """Items to be added somewhere, which name something."""

    def probes(things: Things) -> Iterable[Probe]:
        for body in inputs(things):
            if isinstance(body["input"], list):
                yield Probe(path.format(id=things.conversation), {"items": body["input"]})

    return probes


CONVERSATION, ITEMS = "/v1/conversations/{id}", "/v1/conversations/{id}/items"
CASES: dict[tuple[str, str], Callable[[Things], Iterable[Probe]]] = {
    ("POST", "/v1/responses"): creations("/v1/responses"),
    ("POST", "/v1/responses/compact"): creations("/v1/responses/compact"),
    ("POST", "/v1/responses/input_tokens"): creations("/v1/responses/input_tokens"),
    ("GET", "/v1/responses/{id}"): retrievals,
    ("DELETE", "/v1/responses/{id}"): of_response("/v1/responses/{id}"),
    ("POST", "/v1/responses/{id}/cancel"): of_response("/v1/responses/{id}/cancel"),
    ("GET", "/v1/responses/{id}/input_items"): of_response("/v1/responses/{id}/input_items"),
    ("POST", "/v1/conversations"): new_items("/v1/conversations"),
    ("GET", CONVERSATION): of_conversation(CONVERSATION),
    ("POST", CONVERSATION): of_conversation(CONVERSATION, {"metadata": {"mine": "now"}}),
    ("DELETE", CONVERSATION): of_conversation(CONVERSATION),
    ("GET", ITEMS): of_conversation(ITEMS),
    ("POST", ITEMS): of_conversation(ITEMS, {"items": [{"role": "user", "content": "in between"}]}),
    ("GET", ITEMS + "/{item_id}"): of_conversation(ITEMS + "/{item_id}"),
    ("DELETE", ITEMS + "/{item_id}"): of_conversation(ITEMS + "/{item_id}"),
}


def neutral(answer: Any, *things: Things) -> str:
    """An answer without the ids, which are the only difference that there may be."""
    text = json.dumps(answer, sort_keys=True)
    return re.sub(r"\b(resp|conv|msg|rs|item)_[0-9a-f]{48,}", r"\1_ID", text)


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route != SOCKET])
async def test_another_tenants_things_do_not_exist(world: World, method: str, path: str) -> None:
    if path in NOBODYS:
        answers = [await world.ask(method, Probe(path.replace("{name}", MODEL)), key) for key in (ALICE, BOB)]
        assert path == "/v1/models/{name}" or answers[0] == answers[1]
        return
    case = CASES.get(("GET" if method == "HEAD" else method, path))
    assert case is not None, "write a case for this endpoint"
    before = await world.seen_by_alice()
    nobodys = made_up(world.alices)
    tried = 0
    for probe, twin in zip(case(world.alices), case(nobodys), strict=True):
        theirs, missing = await world.ask(method, probe, BOB), await world.ask(method, twin, BOB)
        assert 400 <= theirs[0] < 500, (probe, theirs)
        assert neutral(theirs) == neutral(missing), probe
        tried += 1
    assert tried
    assert await world.seen_by_alice() == before
    world.gate.set()
    owner = [(await world.ask(method, probe, ALICE_NEW))[0] for probe in case(world.alices)]
    assert 2 * owner.count(200) >= tried, f"her own new key is not let in, so nothing was tested: {owner}"


async def test_every_route_has_a_case() -> None:
    tried = {(method, path) for method, path in ROUTES if method != "HEAD" and path not in NOBODYS}
    assert tried == {*CASES, SOCKET}


async def test_an_item_is_not_found_through_another_conversation(world: World) -> None:
    _, own = await world.ask("POST", Probe("/v1/conversations", {}), BOB)
    for method in ("GET", "DELETE"):
        answers = [
            await world.ask(method, Probe(f"/v1/conversations/{own['id']}/items/{item}"), BOB)
            for item in (world.alices.item, new_id("msg"))
        ]
        assert neutral(answers[0]) == neutral(answers[1])
        assert answers[0][0] == 404
    after = f"/v1/conversations/{own['id']}/items?after="
    answers = [await world.ask("GET", Probe(after + item), BOB) for item in (world.alices.item, new_id("msg"))]
    assert neutral(answers[0]) == neutral(answers[1])


async def test_a_socket_continues_nothing_of_another_tenant(world: World) -> None:
    bobs = await Socket.open(world.stack, headers=bearer(BOB))
    before = await world.seen_by_alice()
    for theirs, nobodys in zip(inputs(world.alices), inputs(made_up(world.alices)), strict=True):
        answers = [await bobs.error(**frame) for frame in (theirs, nobodys)]
        assert neutral(answers[0]) == neutral(answers[1]), theirs
    again = await Socket.open(world.stack, headers=bearer(ALICE))  # unstored ones are their connection's alone
    error = await again.error(previous_response_id=world.alices.unstored, input="Hi")
    assert error["code"] == "previous_response_not_found"
    assert await world.seen_by_alice() == before
    own = await world.socket.ask(previous_response_id=world.alices.unstored, input="Hi")
    assert own[-1]["type"] == "response.completed"
    await bobs.close()
    await again.close()


async def test_an_idempotency_key_is_its_tenants_own(world: World) -> None:
    probe = Probe("/v1/responses", {"model": MODEL, "input": "Hi"}, {"Idempotency-Key": "the same"})
    other = Probe("/v1/responses", {"model": MODEL, "input": "Ho"}, {"Idempotency-Key": "the same"})
    _, alices = await world.ask("POST", probe, ALICE)
    _, again = await world.ask("POST", probe, ALICE_NEW)
    assert again["id"] == alices["id"]
    status, bobs = await world.ask("POST", other, BOB)  # another request under the same key: no conflict for Bob
    assert status == 200
    assert bobs["id"] != alices["id"]
    assert (await world.ask("POST", probe, BOB))[0] == 409


async def test_a_new_key_of_the_same_name_sees_everything(world: World) -> None:
    for path in (f"/v1/responses/{world.alices.response}", f"/v1/conversations/{world.alices.conversation}"):
        assert await world.ask("GET", Probe(path), ALICE) == await world.ask("GET", Probe(path), ALICE_NEW)
    status, _ = await world.ask("POST", Probe(f"/v1/responses/{world.alices.running}/cancel"), ALICE_NEW)
    assert status == 200


async def test_what_was_made_without_keys_belongs_to_public(make_stack: StackFactory) -> None:
    open_stack = await make_stack()
    _, made = await open_stack.post(input="Hi")
    public = new_key()
    keyed = await make_stack(workers=0, api_keys=(*ENTRIES, entry_of("public", public)))
    for key, status in ((public, 200), (BOB, 404)):
        async with keyed.http.get(f"{keyed.url}/v1/responses/{made['id']}", headers=bearer(key)) as answer:
            assert answer.status == status


async def test_the_cache_does_not_tell_another_tenants_prompt_token_by_token(make_stack: StackFactory) -> None:
    stack = await make_stack(api_keys=(*ENTRIES, entry_of("public", public := new_key())))
    for key, cached, told in ((ALICE, 127, 0), (ALICE, 300, 256), (public, 127, 127)):
        stack.engine.play(Script("ok", cached_tokens=cached))
        body = {"model": MODEL, "input": "x" * 400}
        async with stack.http.post(stack.url + "/v1/responses", json=body, headers=bearer(key)) as answer:
            usage = (await answer.json())["usage"]
        details = usage["input_tokens_details"]
        assert details["cached_tokens"] == told
        assert details["cache_write_tokens"] == usage["input_tokens"] - told


def test_ids_cannot_be_guessed() -> None:
    """192 random bits, whatever the prefix; an item's id holds those of its response."""
    made = [new_id("resp") for _ in range(2000)]
    digits = [identifier.removeprefix("resp_") for identifier in made]
    assert len(set(digits)) == 2000
    assert all(re.fullmatch(r"[0-9a-f]{48}", text) for text in digits)
    bits = [format(int(text, 16), "0192b") for text in digits]
    for place in range(192):  # each bit is as often 1 as 0: nothing in it is fixed or counted
        assert 800 < sum(text[place] == "1" for text in bits) < 1200, place
    assert item_id("msg", made[0], 0).startswith(f"msg_{digits[0]}")


async def test_every_id_that_leaves_the_server_is_long(world: World) -> None:
    answers = [*await world.seen_by_alice(), await world.ask("GET", Probe("/v1/models"), ALICE)]
    found = re.findall(r'"(?:id|item_id|response_id)": "((?!llamarelay)[^"]+)"', json.dumps(answers))
    assert len(found) > 5
    for identifier in found:
        assert re.fullmatch(r"[a-z]+_[0-9a-f]{48,52}", identifier), identifier
