"""Background responses, cancelling, resuming long after, idempotent requests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.redis import keys
from tests.conftest import StackFactory
from tests.stack import MODEL, Stack
from tests.waiting import until
from tests.wire import TERMINAL, check_response, check_stream, parse_sse, text_of
from tests.workers.test_worker import freeze, until_length
from workers.engine.core import EngineFailed
from workers.engine.scripted import Script, ScriptedEngine


async def poll(stack: Stack, response_id: str, *statuses: str) -> Any:
    """The response as soon as it has one of these statuses."""
    async with asyncio.timeout(10):
        while True:
            _, response = await stack.get(f"/v1/responses/{response_id}")
            if response["status"] in statuses:
                return response


async def keyed(stack: Stack, body: Any, key: str) -> tuple[int, Any]:
    """A request with an Idempotency-Key."""
    async with stack.http.post(stack.url + "/v1/responses", json=body, headers={"Idempotency-Key": key}) as answer:
        return answer.status, await answer.json()


async def test_a_background_response_is_queued_at_once_and_polled_to_its_end(stack: Stack) -> None:
    gate = asyncio.Event()
    stack.engine.play(Script("one", gate, "two"))
    status, response = await stack.post(input="Hi", background=True)
    assert (status, response["status"], response["background"]) == (200, "queued", True)
    check_response(response)
    check_response(await poll(stack, response["id"], "in_progress"))
    gate.set()
    final = await poll(stack, response["id"], "completed")
    check_response(final)
    assert text_of(final) == "onetwo"


async def test_a_background_stream_begins_queued_and_survives_its_client(stack: Stack) -> None:
    gate = asyncio.Event()
    stack.engine.play(Script("one", gate, "two"))
    task = asyncio.create_task(stack.stream(input="Hi", background=True))
    await until(lambda: stack.engine.stats.running == 1)
    response_id = stack.engine.requests[-1].id
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    gate.set()
    events = await stack.resume(response_id)
    assert [event["type"] for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert [event["response"]["status"] for event in events[:3]] == ["queued", "queued", "in_progress"]
    assert text_of(events[-1]["response"]) == "onetwo"
    assert events[-1]["response"]["status"] == "completed"


async def test_background_needs_store(stack: Stack) -> None:
    status, body = await stack.post(input="Hi", background=True, store=False)
    assert (status, body["error"]["param"]) == (400, "store")


async def cancel(stack: Stack, response_id: str) -> tuple[int, Any]:
    async with stack.http.post(f"{stack.url}/v1/responses/{response_id}/cancel") as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("background", [True, False])
async def test_a_running_response_can_be_cancelled(stack: Stack, background: bool) -> None:
    stack.engine.play(Script("one", asyncio.Event(), "two"))
    task = asyncio.create_task(stack.stream(input="Hi", background=background))
    await until(lambda: stack.engine.stats.generated_tokens == 1)
    response_id = stack.engine.requests[-1].id
    status, response = await cancel(stack, response_id)
    assert (status, response["status"]) == (200, "cancelled")
    check_response(response)
    events = await task
    assert events[-1]["response"] == response
    assert [event["type"] for event in events if event["type"] in TERMINAL] == ["response.incomplete"]
    assert text_of(response) == "one"
    await until(lambda: stack.engine.stats.running == 0)
    assert await cancel(stack, response_id) == (200, response)


async def test_a_waiting_response_can_be_cancelled_though_every_slot_is_taken(make_stack: StackFactory) -> None:
    stack = await make_stack(slots=1)
    gate = asyncio.Event()
    stack.engine.play(Script(gate, "first"))
    first = asyncio.create_task(stack.post(input="Hi"))
    await until(lambda: stack.engine.stats.running == 1)
    _, waiting = await stack.post(input="Hi", background=True)
    status, response = await cancel(stack, waiting["id"])
    assert (status, response["status"], response["output"]) == (200, "cancelled", [])
    events = await stack.resume(waiting["id"])
    assert [event["type"] for event in events] == ["response.created", "response.queued", "response.incomplete"]
    gate.set()
    assert (await first)[0] == 200
    assert len(stack.engine.requests) == 1


async def test_cancelling_what_has_ended_changes_nothing(stack: Stack) -> None:
    _, response = await stack.post(input="Hi")
    assert await cancel(stack, response["id"]) == (200, response)
    status, body = await cancel(stack, "resp_none")
    assert (status, body["error"]["code"]) == (404, "response_not_found")


async def test_a_cancel_that_races_the_end_gives_one_terminal_state(stack: Stack) -> None:
    for step in range(12):
        gate = asyncio.Event()
        stack.engine.play(Script("one", gate, *(" two" for _ in range(step))))
        task = asyncio.create_task(stack.stream(input="Hi"))
        await until(lambda: stack.engine.stats.running == 1)
        response_id = stack.engine.requests[-1].id
        gate.set()
        for _ in range(step % 4):
            await asyncio.sleep(0)
        await cancel(stack, response_id)
        final = check_stream(await task)
        assert final["status"] in ("completed", "cancelled")
        assert (await stack.get(f"/v1/responses/{response_id}"))[1] == final


async def test_an_expired_log_is_told_again_from_the_final_object(stack: Stack, redis: Redis) -> None:
    stack.engine.play(Script("<think>", "hm", "</think>", "Hel", "lo"))
    _, response = await stack.post(input="Hi")
    await redis.delete(keys.events(response["id"]))
    events = await stack.resume(response["id"])
    assert check_stream(events) == response
    for after in (0, 5, 400):
        rest = await stack.resume(response["id"], after)
        assert rest[-1]["response"] == response
        assert [event["sequence_number"] for event in rest] == sorted(event["sequence_number"] for event in rest)
        assert rest[0]["sequence_number"] == after + 1 or after == 400


async def test_the_same_idempotency_key_gives_the_same_response(stack: Stack) -> None:
    headers = {"Idempotency-Key": "abc"}
    body = {"model": MODEL, "input": "Hi"}

    async def post(body: Any) -> tuple[int, Any]:
        async with stack.http.post(stack.url + "/v1/responses", json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    answers = await asyncio.gather(*(post(body) for _ in range(5)))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0] == 200
    assert len(stack.engine.requests) == 1
    status, refused = await post({**body, "input": "Other"})
    assert (status, refused["error"]["code"]) == (409, "idempotency_key_reused")
    status, refused = await post({**body, "store": False})
    assert (status, refused["error"]["param"]) == (400, "store")


@pytest.mark.parametrize("ended", [True, False])
async def test_a_key_is_free_again_after_a_client_that_left(stack: Stack, ended: bool) -> None:
    """Its time-out cancelled the response: half an answer is none."""
    body = {"model": MODEL, "input": "Hi"}
    stack.engine.play(Script("half", asyncio.Event()), Script("whole"))
    left = asyncio.create_task(keyed(stack, body, "abc"))
    await until(lambda: stack.engine.stats.running == 1)
    left.cancel()
    if ended:
        await until(lambda: stack.engine.stats.running == 0)
    answers = await asyncio.gather(*(keyed(stack, body, "abc") for _ in range(4)))
    assert [(status, answer["status"]) for status, answer in answers] == [(200, "completed")] * 4
    assert len({answer["id"] for _, answer in answers}) == 1
    assert len(stack.engine.requests) == 2


async def test_a_key_is_free_again_after_a_failure(stack: Stack) -> None:
    stack.engine.play(Script("half", EngineFailed("broken")), Script("whole"))
    body = {"model": MODEL, "input": "Hi"}
    assert (await keyed(stack, body, "abc"))[0] == 500
    answers = await asyncio.gather(*(keyed(stack, body, "abc") for _ in range(4)))
    assert [(status, answer["status"]) for status, answer in answers] == [(200, "completed")] * 4
    assert len(stack.engine.requests) == 2


@pytest.mark.parametrize("running", [True, False])
async def test_a_key_is_free_again_when_its_response_was_deleted(stack: Stack, running: bool) -> None:
    stack.engine.play(Script("half", asyncio.Event()) if running else Script("half"), Script("whole"))
    body = {"model": MODEL, "input": "Hi", "background": True}
    _, first = await keyed(stack, body, "abc")
    if running:
        await until(lambda: stack.engine.stats.running == 1)
    else:
        await poll(stack, first["id"], "completed")
    async with stack.http.delete(f"{stack.url}/v1/responses/{first['id']}") as answer:
        assert answer.status == 200
    status, second = await keyed(stack, body, "abc")
    assert status == 200
    assert second["id"] != first["id"]
    assert text_of(await poll(stack, second["id"], "completed")) == "whole"


async def test_an_idempotent_stream_is_told_again(stack: Stack) -> None:
    headers = {"Idempotency-Key": "abc"}
    body = {"model": MODEL, "input": "Hi", "stream": True}
    told = []
    for _ in range(2):
        async with stack.http.post(stack.url + "/v1/responses", json=body, headers=headers) as answer:
            told.append(parse_sse(await answer.read()))
    assert told[0] == told[1]
    assert len(stack.engine.requests) == 1


async def test_input_items_are_listed_in_pages(stack: Stack) -> None:
    _, parent = await stack.post(input="before")
    items = [{"role": "user", "content": str(number)} for number in range(5)]
    _, response = await stack.post(input=items, previous_response_id=parent["id"])
    path = f"/v1/responses/{response['id']}/input_items"
    _, newest = await stack.get(path + "?limit=2")
    assert [item["content"][0]["text"] for item in newest["data"]] == ["4", "3"]
    assert newest["has_more"] is True
    _, rest = await stack.get(f"{path}?limit=9&after={newest['last_id']}")
    assert [item["content"][0]["text"] for item in rest["data"]] == ["2", "1", "0"]
    assert rest["has_more"] is False
    _, oldest = await stack.get(path + "?order=asc&limit=1")
    assert oldest["data"][0]["content"][0]["text"] == "0"
    assert oldest["data"][0]["id"].startswith("msg_")
    for query, param in (("limit=0", "limit"), ("limit=x", "limit"), ("order=up", "order"), ("after=x", "after")):
        status, body = await stack.get(f"{path}?{query}")
        assert (status, body["error"]["param"]) == (400, param)
    status, _ = await stack.get("/v1/responses/resp_none/input_items")
    assert status == 404


async def test_input_tokens_are_those_of_a_generation(stack: Stack) -> None:
    _, parent = await stack.post(input="before", instructions="Long ones.")
    fields = {"model": MODEL, "input": "Hi", "instructions": "Be brief.", "previous_response_id": parent["id"]}
    async with stack.http.post(stack.url + "/v1/responses/input_tokens", json=fields) as answer:
        counted = await answer.json()
    _, response = await stack.post(body=fields)
    assert counted == {"object": "response.input_tokens", "input_tokens": response["usage"]["input_tokens"]}


async def test_obfuscation_is_added_when_asked_for(stack: Stack) -> None:
    stack.engine.play(Script("a", "bcd"))
    events = await stack.stream(input="Hi", stream_options={"include_obfuscation": True})
    check_stream(events)
    lengths = {len(e["delta"]) + len(e["obfuscation"]) for e in events if e["type"].endswith(".delta")}
    assert lengths == {16}


async def test_a_response_its_lost_worker_began_can_be_cancelled(make_stack: StackFactory, redis: Redis) -> None:
    stack = await make_stack()
    stack.engine.play(Script("half", asyncio.Event()))
    _, queued = await stack.post(input="Hi", background=True)
    await until(lambda: stack.engine.stats.generated_tokens == 1)
    await until_length(redis, queued["id"], 6)
    await freeze(stack)
    status, response = await cancel(stack, queued["id"])
    assert (status, response["status"]) == (200, "cancelled")
    assert text_of(response) == "half"
    assert isinstance(stack.engine, ScriptedEngine)
    events = await stack.resume(queued["id"])
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["response"] == response
