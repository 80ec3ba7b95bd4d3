"""API keys at the door: every path but health needs one, over HTTP and WebSocket, and the limit of requests holds."""

from __future__ import annotations

import asyncio
import math
import re
from typing import Any

import pytest
from aiohttp import WSServerHandshakeError, web
from openai import AuthenticationError, RateLimitError
from redis.asyncio import Redis

from api.auth import OPEN
from shared.api_keys import entry_of, new_key
from tests.api.keys import ALICE, ALICE_NEW, BOB, ENTRIES, bearer
from tests.api.sockets import Socket
from tests.conftest import StackFactory
from tests.stack import MODEL, Stack
from tests.waiting import until
from workers.engine.scripted import Script

WRONG = [
    {},
    {"Authorization": ""},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer "},
    {"Authorization": f"Bearer {new_key()}"},
    {"Authorization": f"Bearer {ALICE[:-1]}"},
    {"Authorization": f"Bearer {ALICE} {BOB}"},
    {"Authorization": f"Basic {ALICE}"},
    {"Authorization": ALICE},
    {"Authorization": "Bearer \udcff\udcfe"},
    {"api-key": ALICE},
    {"Sec-WebSocket-Protocol": f"openai-insecure-api-key.{ALICE}"},
]


@pytest.fixture
async def keyed(make_stack: StackFactory) -> Stack:
    return await make_stack(api_keys=ENTRIES)


@pytest.mark.parametrize("headers", WRONG, ids=str)
async def test_without_a_right_key_there_is_only_a_401(keyed: Stack, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/responses"), ("GET", "/no/such/path")):
        async with keyed.http.request(method, keyed.url + path, headers=headers) as answer:
            body = await answer.json()
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.headers["X-Request-Id"]
        assert body["error"]["code"] == "invalid_api_key"
        assert body["error"]["type"] == "invalid_request_error"
        assert ALICE[:-1] not in str(body)


async def test_every_path_but_health_is_closed(keyed: Stack) -> None:
    tried = 0
    for route in keyed.fronts[0].app.router.routes():
        assert route.resource is not None
        path = re.sub(r"\{[^}]*\}", "x", route.resource.canonical)
        async with keyed.http.request(route.method, keyed.url + path) as answer:
            assert answer.status == (200 if path in OPEN else 401), (route.method, path)
        tried += 1
    assert tried > 15


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER  "])
async def test_every_key_opens(keyed: Stack, scheme: str) -> None:
    for key in (ALICE, ALICE_NEW, BOB):
        async with keyed.http.get(keyed.url + "/v1/models", headers={"Authorization": f"{scheme} {key}"}) as answer:
            assert answer.status == 200


async def test_the_sdk_meets_its_own_exceptions(keyed: Stack) -> None:
    async with keyed.client() as client:
        with pytest.raises(AuthenticationError) as refused:
            await client.responses.create(model=MODEL, input="Hi")
        assert refused.value.code == "invalid_api_key"
        client.api_key = ALICE
        assert (await client.responses.create(model=MODEL, input="Hi")).status == "completed"


async def test_without_keys_any_key_is_fine(stack: Stack) -> None:
    for headers in WRONG:
        async with stack.http.get(stack.url + "/v1/models", headers=headers) as answer:
            assert answer.status == 200


async def test_a_preflight_needs_no_key_and_tells_no_more(make_stack: StackFactory) -> None:
    stack = await make_stack(api_keys=ENTRIES, cors_origins=("https://app.example",))
    asks = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    async with stack.http.options(stack.url + "/v1/responses", headers=asks) as answer:
        assert answer.status == 204
    async with stack.http.post(stack.url + "/v1/responses", headers={"Origin": "https://app.example"}) as answer:
        assert answer.status == 401  # and a page can read why
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    async with stack.http.options(
        stack.url + "/v1/responses", headers={**asks, "Origin": "https://x.example"}
    ) as answer:
        assert answer.status == 401


async def test_a_websocket_needs_a_key(keyed: Stack) -> None:
    for headers in ({}, bearer(new_key())):
        with pytest.raises(WSServerHandshakeError) as refused:
            await Socket.open(keyed, headers=headers)
        assert refused.value.status == 401
    socket = await Socket.open(keyed, headers=bearer(ALICE))
    assert (await socket.ask(input="Hi"))[-1]["type"] == "response.completed"
    await socket.close()


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        (["realtime", f"openai-insecure-api-key.{ALICE}"], "realtime"),
        ([f"openai-insecure-api-key.{ALICE}", "responses", "other"], "responses"),
        ([f"openai-insecure-api-key.{ALICE}"], None),  # the key never comes back
    ],
)
async def test_a_page_sends_its_key_as_a_subprotocol(keyed: Stack, offers: list[str], chosen: str | None) -> None:
    socket = await Socket.open(keyed, protocols=offers)
    assert socket.raw.protocol == chosen
    assert (await socket.ask(input="Hi"))[-1]["type"] == "response.completed"
    await socket.close()


async def test_a_wrong_subprotocol_key_is_refused(keyed: Stack) -> None:
    with pytest.raises(WSServerHandshakeError) as refused:
        await Socket.open(keyed, protocols=["realtime", "openai-insecure-api-key.wrong"])
    assert refused.value.status == 401


async def test_a_page_of_another_origin_gets_403_in_the_envelope(keyed: Stack) -> None:
    headers = {
        **bearer(ALICE), "Origin": "https://evil.example", "Upgrade": "websocket", "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }  # fmt: skip
    async with keyed.http.get(keyed.url + "/v1/responses", headers=headers) as answer:
        assert answer.status == 403
        error = (await answer.json())["error"]
    assert (error["type"], error["code"]) == ("permission_error", "origin_not_allowed")


# --- requests per minute


async def ask(stack: Stack, key: str, *, front: int = 0) -> tuple[int, Any]:
    async with stack.http.post(f"{stack.fronts[front].url}/v1/conversations", headers=bearer(key), json={}) as answer:
        await answer.read()
        return answer.status, answer.headers


async def test_requests_in_a_minute_are_limited_across_front_ends(make_stack: StackFactory, redis: Redis) -> None:
    slow, free = new_key(), new_key()
    rotated = new_key()
    entries = (entry_of("slow", slow, rpm=20), entry_of("slow", rotated, rpm=20), entry_of("free", free))
    stack = await make_stack(fronts=2, workers=0, api_keys=entries)
    keys = [slow, rotated]
    before = await redis.time()
    answers = await asyncio.gather(*(ask(stack, keys[n % 2], front=n // 2 % 2) for n in range(50)))
    after = await redis.time()
    passed_ms = (after[0] - before[0]) * 1000 + (after[1] - before[1]) / 1000
    assert sorted(status for status, _ in answers) == [200] * 20 + [429] * 30
    let_in = [headers for status, headers in answers if status == 200]
    assert sorted(int(headers["x-ratelimit-remaining-requests"]) for headers in let_in) == list(range(20))
    for status, headers in answers:
        assert headers["x-ratelimit-limit-requests"] == "20"
        assert re.fullmatch(r"1m0s|\d\d?s", headers["x-ratelimit-reset-requests"])
        if status == 429:
            assert 60_000 - passed_ms <= int(headers["retry-after-ms"]) <= 60_000  # by Redis' clock
            assert int(headers["Retry-After"]) == math.ceil(int(headers["retry-after-ms"]) / 1000)
    status, headers = await ask(stack, free)
    assert status == 200
    assert "x-ratelimit-limit-requests" not in headers
    assert 0 < await redis.pttl("lr:rate:slow") <= 60_000


async def test_the_window_slides(make_stack: StackFactory, redis: Redis) -> None:
    key = new_key()
    stack = await make_stack(workers=0, api_keys=(entry_of("a", key, rpm=3),))
    for _ in range(3):
        assert (await ask(stack, key))[0] == 200
    assert (await ask(stack, key))[0] == 429
    oldest = (await redis.zrange("lr:rate:a", 0, 0))[0]
    await redis.zincrby("lr:rate:a", -60_000_000, oldest)  # a minute later for one of them
    assert (await ask(stack, key))[0] == 200
    assert (await ask(stack, key))[0] == 429


async def test_reading_cancelling_and_deleting_are_free(make_stack: StackFactory) -> None:
    key = new_key()
    stack = await make_stack(workers=0, api_keys=(entry_of("a", key, rpm=1),))
    assert (await ask(stack, key))[0] == 200
    for method, path in (
        ("GET", "/v1/models"), ("GET", "/v1/responses/x"), ("POST", "/v1/responses/x/cancel"),
        ("DELETE", "/v1/responses/x"), ("GET", "/healthz"),
    ):  # fmt: skip
        async with stack.http.request(method, stack.url + path, headers=bearer(key)) as answer:
            assert answer.status in (200, 404), (method, path)
    async with stack.http.post(stack.url + "/v1/responses", headers=bearer(key), data=b"{") as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["type"], error["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")


async def test_the_sdk_knows_the_limit(make_stack: StackFactory) -> None:
    key = new_key()
    stack = await make_stack(api_keys=(entry_of("a", key, rpm=1),))
    async with stack.client() as client:
        client.api_key = key
        await client.responses.create(model=MODEL, input="Hi")
        with pytest.raises(RateLimitError):
            await client.responses.create(model=MODEL, input="Hi")


async def test_frames_of_a_websocket_count(make_stack: StackFactory) -> None:
    key = new_key()
    stack = await make_stack(api_keys=(entry_of("a", key, rpm=2),))
    socket = await Socket.open(stack, headers=bearer(key))  # opening one is free
    for _ in range(2):
        assert (await socket.ask(input="Hi"))[-1]["type"] == "response.completed"
    error = await socket.error(input="Hi")
    assert (error["status"], error["code"]) == (429, "rate_limit_exceeded")
    assert int(error["headers"]["Retry-After"]) > 0
    await socket.close()


async def test_frames_that_wait_count_when_they_come(make_stack: StackFactory) -> None:
    key = new_key()
    stack = await make_stack(api_keys=(entry_of("a", key, rpm=2),))
    stack.engine.play(Script(gate := asyncio.Event(), "one"), Script("two"))
    socket = await Socket.open(stack, headers=bearer(key))
    for _ in range(3):
        await socket.create(input="Hi")
    seen = [await socket.receive()]
    while seen[-1]["type"] != "error":  # while the first is answered and the second waits
        seen.append(await socket.receive())
    assert seen[-1]["error"]["code"] == "rate_limit_exceeded"
    gate.set()
    for _ in range(2):
        assert (await socket.rest())[-1]["type"] == "response.completed"
    await socket.close()


async def test_a_key_runs_no_more_at_once_than_its_slots(make_stack: StackFactory) -> None:
    one, free = new_key(), new_key()
    stack = await make_stack(api_keys=(entry_of("one", one, slots=1), entry_of("free", free)))
    gate = asyncio.Event()
    for _ in range(3):
        stack.engine.play(Script("half", gate, " whole"))

    async def create(key: str) -> str:
        body = {"model": MODEL, "input": "Hi", "background": True}
        async with stack.http.post(stack.url + "/v1/responses", json=body, headers=bearer(key)) as answer:
            return str((await answer.json())["id"])

    first, second = await create(one), await create(one)
    third = await create(free)
    await until(lambda: {request.id for request in stack.engine.requests} >= {first, third})
    assert second not in {request.id for request in stack.engine.requests}
    gate.set()
    await until(lambda: second in {request.id for request in stack.engine.requests})


async def test_keys_that_make_no_sense_stop_the_start(make_stack: StackFactory) -> None:
    with pytest.raises(ValueError, match="API_KEYS: entry 1"):
        await make_stack(api_keys=("nonsense",))


def test_the_open_paths_exist() -> None:
    from api.routes import health

    assert {route.path for route in health.routes if isinstance(route, web.RouteDef)} == OPEN
