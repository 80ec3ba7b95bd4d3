"""`POST /v1/responses` end to end, with a scripted engine behind real HTTP, Redis and arq."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.redis import keys, records
from tests.conftest import StackFactory
from tests.stack import MODEL, Stack
from tests.waiting import until
from tests.wire import check_response, check_stream, deltas, parse_sse, reasoning_of, text_of
from workers.engine.core import EngineFailed
from workers.engine.scripted import Script
from workers.signs import Signs


async def test_a_text_answer_streams_in_the_exact_order(stack: Stack) -> None:
    stack.engine.play(Script("Hel", "lo", " there"))
    events = await stack.stream(input="Hi")
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    final = check_stream(events)
    assert text_of(final) == deltas(events) == "Hello there"
    assert final["status"] == "completed"
    assert final["usage"]["output_tokens"] == 4


async def test_reasoning_comes_as_an_item_of_its_own(stack: Stack) -> None:
    stack.engine.play(Script("<think>", "\n", "Two", " steps.\n", "</think>", "\n\n", "Done", "."))
    events = await stack.stream(input="Hi", reasoning={"effort": "low"})
    final = check_stream(events)
    assert [item["type"] for item in final["output"]] == ["reasoning", "message"]
    assert reasoning_of(final) == "Two steps."
    assert text_of(final) == "Done."
    assert final["usage"]["output_tokens_details"]["reasoning_tokens"] == 5


async def test_without_stream_the_finished_response_is_the_answer(stack: Stack) -> None:
    stack.engine.play(Script("Hello"))
    status, response = await stack.post(input="Hi")
    assert status == 200
    check_response(response)
    assert text_of(response) == "Hello"
    assert await stack.get(f"/v1/responses/{response['id']}") == (200, response)


async def test_every_form_of_input_reaches_the_model(stack: Stack) -> None:
    await stack.post(
        instructions="Be brief.",
        input=[
            {"role": "developer", "content": "Rule."},
            {"role": "user", "content": [{"type": "input_text", "text": "One"}, {"type": "input_text", "text": "two"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Three"}]},
            {"role": "system", "content": "Mind."},
            {"role": "user", "content": "Four"},
        ],
    )
    assert prompt(stack) == (
        "<|im_start|>system\nBe brief.\n\nRule.<|im_end|>\n<|im_start|>user\nOne\ntwo<|im_end|>\n"
        "<|im_start|>assistant\nThree<|im_end|>\n<|im_start|>system\nMind.<|im_end|>\n"
        "<|im_start|>user\nFour<|im_end|>\n<|im_start|>assistant\n"
    )


async def test_a_chain_is_recursive_and_instructions_are_not_inherited(stack: Stack) -> None:
    stack.engine.play(Script("A1"), Script("A2"), Script("A3"))
    _, first = await stack.post(input="Q1", instructions="Only for the first.")
    _, second = await stack.post(input="Q2", previous_response_id=first["id"])
    _, third = await stack.post(input="Q3", previous_response_id=second["id"])
    assert prompt(stack) == "".join(
        f"<|im_start|>{role}\n{text}<|im_end|>\n"
        for role, text in [("user", "Q1"), ("assistant", "A1"), ("user", "Q2"), ("assistant", "A2"), ("user", "Q3")]
    ) + ("<|im_start|>assistant\n")
    assert third["previous_response_id"] == second["id"]
    assert third["instructions"] is None


async def test_a_response_can_be_forked(stack: Stack) -> None:
    _, parent = await stack.post(input="Q1")
    for branch in ("left", "right"):
        status, _ = await stack.post(input=branch, previous_response_id=parent["id"])
        assert status == 200
        assert "Q1" in prompt(stack)
        assert branch in prompt(stack)
    assert "left" not in prompt(stack)


async def test_the_token_limit_makes_a_response_incomplete(stack: Stack) -> None:
    stack.engine.play(Script("one", " two", " three"))
    events = await stack.stream(input="Hi", max_output_tokens=2)
    final = check_stream(events)
    assert events[-1]["type"] == "response.incomplete"
    assert final["status"] == "incomplete"
    assert final["incomplete_details"] == {"reason": "max_output_tokens"}
    assert final["output"][-1]["status"] == "incomplete"
    assert text_of(final) == "one two"
    assert final["usage"]["output_tokens"] == 2


async def test_an_incomplete_response_can_be_continued(stack: Stack) -> None:
    stack.engine.play(Script("one", " two"), Script("three"))
    _, first = await stack.post(input="Hi", max_output_tokens=1)
    status, _ = await stack.post(input="go on", previous_response_id=first["id"])
    assert status == 200
    assert "<|im_start|>assistant\none<|im_end|>" in prompt(stack)


async def test_options_reach_the_engine_and_are_echoed(stack: Stack) -> None:
    fields = {"temperature": 0.25, "top_p": 0.5, "max_output_tokens": 99, "metadata": {"a": "b"}, "user": "u"}
    _, response = await stack.post(input="Hi", **fields, reasoning={"effort": "high"})
    assert {name: response[name] for name in fields} == fields
    assert response["reasoning"] == {"effort": "high", "summary": None}
    request = stack.engine.requests[-1]
    assert (request.sampling.temperature, request.sampling.top_p, request.max_tokens) == (0.25, 0.5, 99)


async def test_usage_is_what_the_engine_says(stack: Stack) -> None:
    stack.engine.play(Script("a", "b", cached_tokens=7))
    _, response = await stack.post(input="Hi")
    prompt_tokens = len(stack.engine.requests[-1].tokens)
    assert response["usage"] == {
        "input_tokens": prompt_tokens,
        "input_tokens_details": {"cached_tokens": 7, "cache_write_tokens": prompt_tokens - 7},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt_tokens + 3,
    }


async def test_characters_split_over_tokens_are_never_broken(stack: Stack) -> None:
    text = "é👩‍👩‍👧漢\u0301z"
    stack.engine.play(Script(*(bytes([byte]) for byte in text.encode())))
    final = check_stream(await stack.stream(input="Hi"))
    assert text_of(final) == text


async def test_bytes_that_are_no_text_become_replacement_characters(stack: Stack) -> None:
    stack.engine.play(Script("a", b"\xff", "b", b"\xe2\x82"))
    final = check_stream(await stack.stream(input="Hi"))
    assert text_of(final) == "a\ufffdb\ufffd"


async def test_a_model_that_says_nothing_gives_an_empty_message(stack: Stack) -> None:
    stack.engine.play(Script())
    final = check_stream(await stack.stream(input="Hi"))
    assert [item["type"] for item in final["output"]] == ["message"]
    assert text_of(final) == ""


async def test_an_engine_failure_ends_the_stream_as_failed(stack: Stack) -> None:
    stack.engine.play(Script("half", EngineFailed("llama_decode failed")))
    events = await stack.stream(input="Hi")
    final = check_stream(events)
    assert events[-1]["type"] == "response.failed"
    assert final["error"]["code"] == "server_error"
    assert "llama_decode failed" in final["error"]["message"]
    assert text_of(final) == "half"
    assert final["output"][0]["status"] == "incomplete"


async def test_an_engine_failure_without_stream_is_a_500_that_names_the_response(stack: Stack) -> None:
    stack.engine.play(Script(EngineFailed("llama_decode failed")))
    status, body = await stack.post(input="Hi")
    assert status == 500
    assert body["error"]["code"] == "server_error"
    assert "llama_decode failed" in body["error"]["message"]


async def test_any_response_can_be_streamed_again_from_anywhere(stack: Stack) -> None:
    events = await stack.stream(input="Hi")
    response_id = events[0]["response"]["id"]
    assert await stack.resume(response_id) == events
    for after in range(len(events)):
        end = {**events[-1], "sequence_number": after + 1}
        assert await stack.resume(response_id, after) == (events[after + 1 :] or [end])


@pytest.mark.parametrize("beyond", [0, 1, 10**6, 2**63 - 2])
@pytest.mark.parametrize("expired", [False, True])
async def test_resuming_beyond_the_end_gives_the_end_again(
    make_stack: StackFactory, redis: Redis, beyond: int, expired: bool
) -> None:
    """Also when the log has expired; at once, not after a silence."""
    stack = await make_stack(silence_seconds=3600.0, ping_seconds=3600.0)
    events = await stack.stream(input="Hi")
    response_id = events[0]["response"]["id"]
    if expired:
        await redis.delete(keys.events(response_id))
    after = max(beyond, events[-1]["sequence_number"])
    async with asyncio.timeout(20):
        [end] = await stack.resume(response_id, after)
    assert end == {**events[-1], "sequence_number": after + 1}
    check_stream([end], first=after + 1)


async def test_who_joins_beyond_the_end_of_a_running_response_gets_its_end(make_stack: StackFactory) -> None:
    stack = await make_stack(silence_seconds=3600.0, ping_seconds=3600.0)
    gate = asyncio.Event()
    stack.engine.play(Script("one", gate, "two"))
    main = asyncio.create_task(stack.stream(input="Hi"))
    response_id = await only_response(stack)
    async with stack.http.get(f"{stack.url}/v1/responses/{response_id}?stream=true&starting_after=50") as answer:
        gate.set()
        events = await main
        async with asyncio.timeout(20):
            assert parse_sse(await answer.read()) == [{**events[-1], "sequence_number": 51}]


@pytest.mark.parametrize("after", ["one", "1.5", str(2**63 - 1), str(2**64), "1" + "0" * 30, "9" * 5000])
async def test_what_is_no_number_of_an_event_is_refused(stack: Stack, after: str) -> None:
    _, response = await stack.post(input="Hi")
    status, body = await stack.get(f"/v1/responses/{response['id']}?stream=true&starting_after={after}")
    assert (status, body["error"]["param"], body["error"]["code"]) == (400, "starting_after", "invalid_value")


async def test_a_running_response_can_be_joined(stack: Stack) -> None:
    gate = asyncio.Event()
    stack.engine.play(Script("one", gate, "two"))
    main = asyncio.create_task(stack.stream(input="Hi"))
    response_id = await only_response(stack)
    joined = [asyncio.create_task(stack.resume(response_id, after)) for after in (None, 0, 3)]
    await asyncio.sleep(0)
    gate.set()
    events = await main
    check_stream(events)
    assert [await task for task in joined] == [events, events[1:], events[4:]]


async def test_a_deleted_response_is_gone(stack: Stack) -> None:
    _, response = await stack.post(input="Hi")
    async with stack.http.delete(f"{stack.url}/v1/responses/{response['id']}") as answer:
        assert answer.status == 200
        assert await answer.json() == {"id": response["id"], "object": "response", "deleted": True}
    status, body = await stack.get(f"/v1/responses/{response['id']}")
    assert (status, body["error"]["code"]) == (404, "response_not_found")
    status, body = await stack.post(input="Hi", previous_response_id=response["id"])
    assert (status, body["error"]["code"]) == (400, "previous_response_not_found")


async def test_a_chain_with_a_deleted_ancestor_is_refused(stack: Stack) -> None:
    _, first = await stack.post(input="Q1")
    _, second = await stack.post(input="Q2", previous_response_id=first["id"])
    await stack.http.delete(f"{stack.url}/v1/responses/{first['id']}")
    status, body = await stack.post(input="Q3", previous_response_id=second["id"])
    assert (status, body["error"]["code"]) == (400, "previous_response_not_found")
    assert first["id"] in body["error"]["message"]


async def test_a_parent_that_still_runs_is_refused(stack: Stack) -> None:
    gate = asyncio.Event()
    stack.engine.play(Script("one", gate))
    main = asyncio.create_task(stack.stream(input="Hi"))
    response_id = await only_response(stack)
    status, body = await stack.post(input="Q", previous_response_id=response_id)
    assert (status, body["error"]["code"]) == (400, "previous_response_not_ready")
    gate.set()
    await main


async def test_an_unstored_response_leaves_nothing_behind(stack: Stack, redis: Redis) -> None:
    before = set(await redis.keys())
    for stream in (False, True):
        if stream:
            check_stream(await stack.stream(input="Hi", store=False))
        else:
            status, response = await stack.post(input="Hi", store=False)
            assert (status, response["store"]) == (200, False)
    async with asyncio.timeout(30):  # a stream's client has its end before the response is forgotten
        while {key for key in await redis.keys() if b"resp_" in key} - before:
            await asyncio.sleep(0.005)


async def test_a_client_that_leaves_frees_its_slot(stack: Stack) -> None:
    for stream in (True, False):
        gate = asyncio.Event()
        stack.engine.play(Script("one", gate, "two"))
        task = asyncio.create_task(stack.stream(input="Hi") if stream else stack.post(input="Hi"))
        await until(lambda: stack.engine.stats.running == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: stack.engine.stats.running == 0)
        assert len(stack.engine.cancelled) == (1 if stream else 2)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_while_its_response_is_created_frees_its_slot(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    create, release = records.create, asyncio.Event()

    async def slowly(*arguments: Any) -> Any:
        outcome = await create(*arguments)
        await release.wait()
        return outcome

    monkeypatch.setattr("api.creation.records.create", slowly)
    stack.engine.play(Script("one", asyncio.Event(), "two"))
    task = asyncio.create_task(stack.post(input="Hi", stream=stream))
    await until(
        lambda: stack.engine.stats.running == 1
    )  # a worker has it before the front end knows that it is written
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await stack.get("/healthz")  # by now the front end has seen that the client has left
    release.set()
    await until(lambda: len(stack.engine.cancelled) == 1)


async def test_the_record_of_a_left_response_says_cancelled(stack: Stack) -> None:
    gate = asyncio.Event()
    stack.engine.play(Script("one", gate))
    task = asyncio.create_task(stack.stream(input="Hi"))
    response_id = await only_response(stack)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    events = await stack.resume(response_id)
    final = check_stream(events)
    assert events[-1]["type"] == "response.incomplete"
    assert final["status"] == "cancelled"


async def test_deleting_a_running_response_stops_it(stack: Stack) -> None:
    gate = asyncio.Event()
    stack.engine.play(Script("one", gate))
    main = asyncio.create_task(stack.stream(input="Hi"))
    response_id = await only_response(stack)
    await stack.http.delete(f"{stack.url}/v1/responses/{response_id}")
    events = await main
    assert events[-1]["response"]["status"] == "cancelled"
    assert len([event for event in events if event["type"] == "response.incomplete"]) == 1
    await until(lambda: stack.engine.stats.running == 0)


async def test_silence_is_filled_with_pings(make_stack: StackFactory) -> None:
    stack = await make_stack(ping_seconds=0.05, silence_seconds=0.05)
    gate = asyncio.Event()
    stack.engine.play(Script(gate, "late"))
    body = {"model": MODEL, "stream": True, "input": "Hi"}
    async with stack.http.post(stack.url + "/v1/responses", json=body) as answer:
        received = b""
        async for chunk in answer.content.iter_any():
            received += chunk
            if b": ping\n\n" in received:
                gate.set()
    check_stream(parse_sse(received))


async def test_a_long_prefill_is_not_silent(make_stack: StackFactory) -> None:
    stack = await make_stack(ping_seconds=0.05)
    gate = asyncio.Event()
    stack.engine.play(Script(gate, "late"))
    task = asyncio.create_task(stack.stream(input="Hi"))
    response_id = await only_response(stack)
    redis = stack.workers[0]._redis
    async with asyncio.timeout(10):
        while await redis.xlen(keys.events(response_id)) < 4:
            await asyncio.sleep(0.005)
    gate.set()
    events = await task
    check_stream(events)
    assert [event["type"] for event in events[1:4]] == ["response.in_progress"] * 3


async def test_a_long_silence_fills_no_log(make_stack: StackFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sign of life repeats the request: they become fewer."""
    said: list[bool] = []

    class Watched(Signs):
        def due(self, *, news: bool) -> bool:
            said.append(super().due(news=news))
            return said[-1]

    monkeypatch.setattr("workers.generate.Signs", Watched)
    stack = await make_stack(ping_seconds=0.01)
    gate = asyncio.Event()
    stack.engine.play(Script(gate, "late"))
    task = asyncio.create_task(stack.stream(input="Hi", instructions="Be brief. " * 1000))
    await until(lambda: len(said) >= 40)
    gate.set()
    events = await task
    check_stream(events)
    signs = [event["type"] for event in events].count("response.in_progress") - 1
    assert signs == sum(said)
    assert 4 <= signs < len(said) / 2


async def test_sixteen_streams_at_once_are_each_exact(stack: Stack) -> None:
    texts = [[f"stream {number} ", *(f"{number}.{step} " for step in range(40))] for number in range(16)]
    stack.engine.play(*(Script(*text) for text in texts))
    streams = await asyncio.gather(*(stack.stream(input="Hi") for _ in texts))
    assert sorted(text_of(check_stream(events)) for events in streams) == sorted("".join(text) for text in texts)
    for events in streams:
        assert await stack.resume(events[0]["response"]["id"]) == events


async def test_done_can_be_left_out(make_stack: StackFactory) -> None:
    stack = await make_stack(send_done=False)
    async with stack.http.post(
        stack.url + "/v1/responses", json={"model": MODEL, "stream": True, "input": "Hi"}
    ) as answer:
        assert b"[DONE]" not in await answer.read()


def prompt(stack: Stack) -> str:
    """The prompt of the last generation."""
    return stack.engine.text(stack.engine.requests[-1].tokens)


async def only_response(stack: Stack) -> str:
    """The id of the one response that runs."""
    await until(lambda: stack.engine.stats.running == 1)
    return stack.engine.requests[-1].id


async def test_a_client_that_leaves_while_its_response_is_written_leaves_nothing_running(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, go_on = asyncio.Event(), asyncio.Event()
    create = records.create

    async def slow(*arguments: Any) -> Any:
        outcome = await create(*arguments)
        written.set()
        await go_on.wait()
        return outcome

    monkeypatch.setattr(records, "create", slow)
    server = stack.fronts[0].runner.server
    assert server is not None
    for stream in (True, False):
        stack.engine.play(Script(asyncio.Event()))
        task = asyncio.create_task(stack.stream(input="Hi") if stream else stack.post(input="Hi"))
        await written.wait()
        await until(lambda: stack.engine.stats.running == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: all(c.transport is None for c in server.connections))  # type: ignore[attr-defined]
        go_on.set()
        await until(lambda: stack.engine.stats.running == 0)
        written.clear()
        go_on.clear()
