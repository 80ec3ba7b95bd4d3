"""The Responses API over a WebSocket: the same events, lanes, errors, limits, and state of the connection."""

from __future__ import annotations

import asyncio
import json
import pickle
import random
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError
from openai.types.responses import ResponsesServerEvent
from pydantic import TypeAdapter
from redis.asyncio import Redis

from api.context import SOCKETS
from api.memory import Memory
from shared.data_urls import write_data_url
from shared.redis import keys
from tests.api.conversing import new, texts_of
from tests.api.keys import ALICE, ALICE_NEW, BOB, ENTRIES, bearer
from tests.api.sockets import Socket
from tests.conftest import StackFactory
from tests.pdfs import pdf
from tests.pictures import picture_url
from tests.stack import MODEL, Stack
from tests.waiting import until
from tests.wire import TERMINAL, check_stream, text_of
from workers.engine.core import EngineFailed
from workers.engine.scripted import Script, ScriptedEngine

ITEM = {"type": "message", "role": "user", "content": "x"}


async def test_the_events_are_those_of_sse_one_a_frame(stack: Stack) -> None:
    stack.engine.play(Script("<think>", "hm", "</think>", "Hel", "lo"))
    socket = await Socket.open(stack)
    events = await socket.ask(input="Hi", stream=False)
    final = check_stream(events)
    assert text_of(final) == "Hello"
    assert await stack.resume(final["id"]) == events
    await socket.close()


async def test_the_sdk_talks_over_a_websocket(stack: Stack) -> None:
    async with stack.client() as client, client.responses.connect() as connection:
        for text in ("one", "two"):
            stack.engine.play(Script(text))
            await connection.response.create(model=MODEL, input="Hi")
            events = []
            async for event in connection:
                events.append(event.model_dump(mode="json", exclude_unset=True))
                if event.type == "response.completed":
                    break
            assert text_of(check_stream(events)) == text


async def test_the_sync_sdk_talks_over_a_websocket(stack: Stack) -> None:
    def talk() -> list[Any]:
        with openai.OpenAI(base_url=stack.url + "/v1", api_key="none", max_retries=0) as client:
            connection = client.responses.connect().enter()
            connection.response.create(model=MODEL, input="Hi")
            events = []
            for event in connection:
                events.append(event.model_dump(mode="json", exclude_unset=True))
                if event.type == "response.completed":
                    connection.close()
                    return events
        raise AssertionError("the connection ended early")

    check_stream(await asyncio.to_thread(talk))


async def test_responses_are_answered_one_after_the_other(stack: Stack) -> None:
    stack.engine.play(Script("one", gate := asyncio.Event()), Script("two"), Script("three"))
    socket = await Socket.open(stack)
    for number in range(3):
        await socket.create(input=str(number))
    await until(lambda: stack.engine.stats.running == 1)
    gate.set()
    assert [text_of(check_stream(await socket.rest())) for _ in range(3)] == ["one", "two", "three"]
    await socket.close()


async def test_lanes_run_at_the_same_time_and_name_their_stream(stack: Stack) -> None:
    gates = [asyncio.Event() for _ in range(3)]
    stack.engine.play(*(lambda request, gate=gate: Script(echo(stack, request), gate, "!") for gate in gates))
    socket = await Socket.open(stack)
    for lane in ("a", "b", None):
        await socket.create(input=f"in {lane}", **({"stream_id": lane} if lane else {}))
    await socket.create(input="in a again", stream_id="a")
    await until(lambda: stack.engine.stats.running == 3)
    for gate in gates:
        gate.set()
    lanes: dict[str | None, list[Any]] = {"a": [], "b": [], None: []}
    ends = 0
    while ends < 4:
        event = await socket.receive()
        lanes[event.pop("stream_id", None)].append(event)
        ends += event["type"] == "response.completed"
    first = next(i for i, event in enumerate(lanes["a"]) if event["type"] == "response.completed") + 1
    for name, events in (("a", lanes["a"][:first]), ("b", lanes["b"]), (None, lanes[None])):
        assert text_of(check_stream(events)) == f"in {name}!"
    check_stream(lanes["a"][first:])
    await socket.close()


async def test_a_lane_may_fork_from_another(stack: Stack) -> None:
    socket = await Socket.open(stack)
    parent = check_stream(await socket.ask(input="Q1", store=False))
    for lane in ("left", "right"):
        events = await socket.ask(input=lane, previous_response_id=parent["id"], stream_id=lane, store=False)
        assert {event.pop("stream_id") for event in events} == {lane}
        check_stream(events)
        assert [part in prompt(stack) for part in ("Q1", "left", "right")] == [True, lane == "left", lane == "right"]
    await socket.close()


async def test_generate_false_computes_the_prompt_and_can_be_continued(stack: Stack) -> None:
    socket = await Socket.open(stack)
    for store in (True, False):
        warm = check_stream(await socket.ask(input="Q1", instructions="Be brief.", generate=False, store=store))
        assert (warm["status"], warm["output"], warm["usage"]["output_tokens"]) == ("completed", [], 0)
        assert stack.engine.requests[-1].max_tokens == 0
        assert warm["usage"]["input_tokens"] == len(stack.engine.requests[-1].tokens)
        final = check_stream(await socket.ask(input="Q2", previous_response_id=warm["id"], generate=True, store=store))
        assert text_of(final) == "ok"
        assert "Q1" in prompt(stack)
    assert check_stream(await socket.ask(instructions="Be brief.", generate=False))["status"] == "completed"
    assert (await socket.error(generate=False))["param"] == "input"
    await socket.close()


async def test_unstored_responses_are_continued_on_their_connection_only(stack: Stack, redis: Redis) -> None:
    stack.engine.play(Script("A1"), Script("A2"), Script("A3"))
    socket, other = await Socket.open(stack), await Socket.open(stack)
    first = check_stream(await socket.ask(input="Q1", store=False))
    second = check_stream(await socket.ask(input="Q2", store=False, previous_response_id=first["id"]))
    third = check_stream(await socket.ask(input="Q3", previous_response_id=second["id"]))
    assert prompt(stack) == "".join(
        f"<|im_start|>{role}\n{text}<|im_end|>\n"
        for role, text in [("user", "Q1"), ("assistant", "A1"), ("user", "Q2"), ("assistant", "A2"), ("user", "Q3")]
    ) + ("<|im_start|>assistant\n")
    left = [key for key in await redis.keys() if b"resp_" in key and third["id"].encode() not in key]
    assert left == []
    _, own = await stack.get(f"/v1/responses/{third['id']}/input_items")
    assert [item["content"][0]["text"] for item in own["data"]] == ["Q3"]
    error = await other.error(input="Q", previous_response_id=first["id"])
    assert (error["status"], error["code"]) == (400, "previous_response_not_found")
    assert error["param"] == "previous_response_id"
    _, child = await stack.post(input="Q4", previous_response_id=third["id"])  # a stored one stands on its own
    assert child["status"] == "completed"
    assert "Q1" in prompt(stack)
    await socket.close()
    await other.close()


async def test_an_unstored_response_may_continue_a_stored_chain_and_a_conversation(stack: Stack) -> None:
    socket = await Socket.open(stack)
    _, stored = await stack.post(input="S1")
    first = check_stream(await socket.ask(input="U1", store=False, previous_response_id=stored["id"]))
    check_stream(await socket.ask(input="U2", store=False, previous_response_id=first["id"]))
    assert [prompt(stack).count(part) for part in ("S1", "U1", "U2")] == [1, 1, 1]
    conversation = await new(stack, "C1")
    turn = check_stream(await socket.ask(input="U3", store=False, conversation=conversation))
    assert await texts_of(stack, conversation) == ["C1", "U3", "ok"]
    await stack.post(input="later", conversation=conversation)
    check_stream(await socket.ask(input="U4", store=False, previous_response_id=turn["id"]))
    assert [prompt(stack).count(part) for part in ("C1", "U3", "U4", "later")] == [1, 1, 1, 0]
    await socket.close()


async def test_an_unstored_turn_with_a_call_and_a_compaction_goes_on(make_stack: StackFactory) -> None:
    stack = await make_stack(encryption_key="a test's key")
    management = [{"type": "compaction", "compact_threshold": 100}]
    stack.engine.play(Script("A1"), Script("They like tea."), Script("A2"))
    socket = await Socket.open(stack)
    first = check_stream(await socket.ask(input="I like tea. " * 9, store=False))
    fields = {"context_management": management, "store": False}
    second = check_stream(await socket.ask(input="Q2", previous_response_id=first["id"], **fields))
    assert [item["type"] for item in second["output"]] == ["compaction", "message"]
    check_stream(await socket.ask(input="Q3", previous_response_id=second["id"], store=False))
    assert prompt(stack) == (
        "<|im_start|>system\nSummary of the conversation so far:\nThey like tea.<|im_end|>\n"
        "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\nA2<|im_end|>\n"
        "<|im_start|>user\nQ3<|im_end|>\n<|im_start|>assistant\n"
    )
    await socket.close()


async def test_a_failed_unstored_response_is_not_remembered(stack: Stack) -> None:
    stack.engine.play(Script("half", EngineFailed("broken")))
    socket = await Socket.open(stack)
    failed = check_stream(await socket.ask(input="Q1", store=False))
    assert failed["status"] == "failed"
    assert (await socket.error(input="Q2", previous_response_id=failed["id"]))["code"] == "previous_response_not_found"
    await socket.close()


async def test_a_connection_remembers_a_bounded_amount(make_stack: StackFactory) -> None:
    stack = await make_stack(max_body_bytes=5000)
    socket = await Socket.open(stack)
    finals = [check_stream(await socket.ask(input="x" * 2000, store=False)) for _ in range(3)]
    assert (await socket.error(input="Q", previous_response_id=finals[0]["id"]))[
        "code"
    ] == "previous_response_not_found"
    for final in finals[1:]:
        assert check_stream(await socket.ask(input="Q", previous_response_id=final["id"]))["status"] == "completed"
    await socket.close()


def pickled(memory: Memory) -> int:
    """About how much a connection's memory holds: what is linked to twice is in it once."""
    return len(pickle.dumps(memory._turns))


async def test_what_is_remembered_of_chained_files_is_their_text(make_stack: StackFactory) -> None:
    stack = await make_stack(max_body_bytes=100_000)
    socket = await Socket.open(stack)
    [connection] = stack.fronts[0].app[SOCKETS]
    chain: dict[str, Any] = {}
    for number in range(6):
        file = pdf(f"word{number}", attached=random.Random(number).randbytes(40_000))
        parts = [
            {"type": "input_file", "filename": f"{number}.pdf", "file_data": write_data_url(file)},
            {"type": "input_text", "text": f"Q{number}"},
        ]
        final = check_stream(await socket.ask(input=[{"role": "user", "content": parts}], store=False, **chain))
        chain = {"previous_response_id": final["id"]}
        for earlier in range(number + 1):
            shown = f"File: {earlier}.pdf (PDF, 1 page)\n```\n[Page 1]\nword{earlier}\n```\nQ{earlier}<|im_end|>"
            assert prompt(stack).count(shown) == 1
    assert 6 * 200 < connection._memory.bytes < 6 * 1000
    assert pickled(connection._memory) < 2 * connection._memory.bytes
    child = check_stream(await socket.ask(input="stored", **chain))  # it stands on its own, and so does its compaction
    _, grandchild = await stack.post(input="again", previous_response_id=child["id"])
    assert grandchild["status"] == "completed"
    assert [prompt(stack).count(f"word{number}\n") for number in range(6)] == [1] * 6
    await socket.close()


async def test_chained_images_are_remembered_once_and_count(make_stack: StackFactory, sighted_models: Path) -> None:
    most = 200_000
    stack = await make_stack(
        loader=lambda *_: ScriptedEngine(vision=True), models_dir=sighted_models, max_body_bytes=most
    )
    socket = await Socket.open(stack)
    [connection] = stack.fronts[0].app[SOCKETS]
    memory = connection._memory

    async def ask(words: str, seed: int | None = None, **chain: Any) -> str:
        parts: list[dict[str, Any]] = [{"type": "input_text", "text": words}]
        if seed is not None:
            parts.append({"type": "input_image", "image_url": picture_url(100, 100, seed)})
        events = await socket.ask(input=[{"role": "user", "content": parts}], store=False, **chain)
        return str(check_stream(events)["id"])

    size = len(picture_url(100, 100))
    turns = [await ask("Q0", 0)]
    for number in range(1, 4):
        turns.append(await ask(f"Q{number}", number, previous_response_id=turns[-1]))
        assert len(stack.engine.requests[-1].images) == number + 1
    assert 4 * size < memory.bytes < 4 * size + 4000 < most
    assert 4 * size < pickled(memory) < 4 * size + 8000
    too_much = await ask("Q4", 4, previous_response_id=turns[-1])
    error = await socket.error(input="Q", previous_response_id=too_much)
    assert error["code"] == "previous_response_not_found"
    await ask("Q5", previous_response_id=turns[-1])  # those before it are still there, and what is small has room
    assert len(stack.engine.requests[-1].images) == 4
    for seed in range(10, 14):  # others take the room: all that is linked to the last turn goes with it
        await ask("other", seed)
        assert memory.bytes < most
    assert 4 * size < memory.bytes < 4 * size + 4000
    assert (await socket.error(input="Q", previous_response_id=turns[-1]))["code"] == "previous_response_not_found"
    await socket.close()


@pytest.mark.parametrize(
    ("sent", "param", "code"),
    [
        ("", None, "invalid_json"),
        ("{", None, "invalid_json"),
        ("[]", None, "invalid_type"),
        ("null", None, "invalid_type"),
        ("[" * 100_000, None, "invalid_type"),
        ('{"type": "response.create", "tools": ' + "[" * 100_000, None, "invalid_json"),
        ('{"type": "response.create", "input": "\\ud800"}', None, "invalid_json"),
        (b"\xff\xfe", None, "invalid_json"),
        (b'{"type": "response.create", "input": "Hi"}', None, "invalid_json"),
        ("{}", "type", "invalid_value"),
        ({"type": 3}, "type", "invalid_value"),
        ({"type": "response.cancel"}, "type", "invalid_value"),
        ({"type": "response.create", "input": 3}, "input", "invalid_type"),
        ({"type": "response.create", "input": [{"role": "nobody", "content": ""}]}, "input[0].role", "invalid_value"),
        ({"type": "response.create"}, "input", "missing_required_parameter"),
        ({"type": "response.create", "response": {"input": "Hi"}}, "response", "unknown_parameter"),
        ({"type": "response.create", "input": "Hi", "background": True}, "background", "unsupported_parameter"),
        ({"type": "response.create", "input": "Hi", "stream_id": ""}, "stream_id", None),
        ({"type": "response.create", "input": "Hi", "stream_id": 3}, "stream_id", "invalid_type"),
        ({"type": "response.create", "input": "Hi", "generate": "no"}, "generate", "invalid_type"),
        ({"type": "response.create", "input": "Hi", "model": "no/model"}, "model", "model_not_found"),
        (
            {"type": "response.create", "input": "Hi", "conversation": "conv_x"},
            "conversation",
            "conversation_not_found",
        ),
        ({"type": "response.create", "input": "Hi", "temperature": 9}, "temperature", "invalid_value"),
        ({"type": "response.create", "input": "x" * 6000}, None, "body_too_large"),
        ({"type": "response.steer", "input": "x"}, "previous_response_id", "missing_required_parameter"),
    ],
)
async def test_a_wrong_frame_is_answered_and_the_connection_goes_on(
    make_stack: StackFactory, sent: Any, param: str | None, code: str | None
) -> None:
    stack = await make_stack(max_body_bytes=200_000 if isinstance(sent, str) else 5000)
    socket = await Socket.open(stack)
    if isinstance(sent, bytes):
        await (socket.raw.send_bytes(sent) if sent.startswith(b"{") else send_text(socket.raw, sent))
    else:
        await socket.raw.send_str(sent if isinstance(sent, str) else json.dumps(sent))
    answer = await socket.receive()
    assert set(answer) == {"type", "status", "error"}
    assert answer["type"] == "error"
    assert 400 <= answer["status"] < 500
    assert set(answer["error"]) == {"code", "message", "param", "type"}
    assert answer["error"]["param"] == param
    assert code is None or answer["error"]["code"] == code
    assert check_stream(await socket.ask(input="Hi"))["status"] == "completed"
    await socket.close()


async def test_an_error_names_its_lane(stack: Stack) -> None:
    socket = await Socket.open(stack)
    for fields in ({"input": 3}, {"input": "Hi", "model": "no/model"}):
        await socket.create(stream_id="a", **fields)
        assert (await socket.receive())["stream_id"] == "a"
    await socket.close()


async def test_steering_is_given_back(stack: Stack) -> None:
    socket = await Socket.open(stack)
    steer = {"type": "response.steer", "previous_response_id": "resp_1", "input": [ITEM]}
    await socket.raw.send_json(steer)
    event = await socket.receive()
    assert event["type"] == "response.steer.failed"
    assert event["error"]["code"] == "steering_not_supported"
    assert event["steer"] == {"previous_response_id": "resp_1", "input": steer["input"]}
    await socket.close()


async def test_a_failure_in_the_middle_is_a_failed_response_not_a_lost_connection(stack: Stack) -> None:
    stack.engine.play(Script("half", EngineFailed("llama_decode failed")))
    socket = await Socket.open(stack)
    assert check_stream(await socket.ask(input="Hi"))["error"]["code"] == "server_error"
    assert check_stream(await socket.ask(input="Hi"))["status"] == "completed"
    await socket.close()


@pytest.mark.parametrize("politely", [True, False])
async def test_a_client_that_leaves_cancels_what_runs(stack: Stack, redis: Redis, politely: bool) -> None:
    stack.engine.play(Script("one", asyncio.Event()), Script("one", asyncio.Event()))
    socket = await Socket.open(stack)
    await socket.create(input="Hi")
    await until(lambda: stack.engine.stats.running == 1)
    await socket.create(input="Hi", store=False, stream_id="b")
    await socket.create(input="never begun")
    await until(lambda: stack.engine.stats.running == 2)
    stored = stack.engine.requests[0].id
    if politely:
        await socket.close()
    else:
        assert socket.raw._conn is not None
        assert socket.raw._conn.transport is not None
        socket.raw._conn.transport.abort()
    await until(lambda: stack.engine.stats.running == 0)
    assert len(stack.engine.cancelled) == len(stack.engine.requests) == 2
    assert (await stack.resume(stored))[-1]["response"]["status"] == "cancelled"
    await until(lambda: stack.workers[0].running == 0)
    async with asyncio.timeout(30):  # the front end forgets the unstored one behind its end
        while await redis.keys(keys.response("*")) != [keys.response(stored).encode()]:
            await asyncio.sleep(0.005)


async def test_more_responses_than_allowed_are_refused(make_stack: StackFactory) -> None:
    stack = await make_stack(websocket_responses=2)
    stack.engine.play(Script(gate := asyncio.Event(), "one"), Script("two"))
    socket = await Socket.open(stack)
    for _ in range(3):
        await socket.create(input="Hi")
    seen = [await socket.receive()]
    while seen[-1]["type"] != "error":
        seen.append(await socket.receive())
    assert (seen[-1]["status"], seen[-1]["error"]["code"]) == (429, "websocket_responses_limit_reached")
    gate.set()
    assert text_of(check_stream([*seen[:-1], *await socket.rest()])) == "one"
    assert text_of(check_stream(await socket.rest())) == "two"
    assert check_stream(await socket.ask(input="Hi"))["status"] == "completed"
    await socket.close()


async def test_frames_that_wait_are_bounded_in_bytes(make_stack: StackFactory) -> None:
    stack = await make_stack(max_body_bytes=100_000)
    stack.engine.play(Script(gate := asyncio.Event(), "one"), Script(gate, "two"))
    socket = await Socket.open(stack)
    await socket.create(input="Hi")
    check = (await socket.receive())["type"]
    await socket.create(input="Hi", instructions="x" * 20_000, stream_id="large")
    await socket.create(input="Hi", instructions="x" * 90_000, stream_id="larger")
    seen = [await socket.receive()]
    while seen[-1]["type"] != "error":
        seen.append(await socket.receive())
    error = seen[-1]
    assert (check, error["stream_id"]) == ("response.created", "larger")
    assert (error["status"], error["error"]["code"]) == (429, "websocket_bytes_limit_reached")
    gate.set()
    ends = {event.get("stream_id") for event in seen if event["type"] in TERMINAL}
    while len(ends) < 2:
        event = await socket.receive()
        if event["type"] in TERMINAL:
            ends.add(event.get("stream_id"))
    [*_, end] = await socket.ask(input="Hi", instructions="x" * 90_000)  # as there is room again
    assert end.get("error", {}).get("code") != "websocket_bytes_limit_reached"
    await socket.close()


async def test_a_key_has_so_many_connections(make_stack: StackFactory) -> None:
    stack = await make_stack(workers=0, websocket_connections=2, api_keys=ENTRIES)
    alice = [await Socket.open(stack, headers=bearer(key)) for key in (ALICE, ALICE_NEW)]
    with pytest.raises(WSServerHandshakeError) as refused:
        await Socket.open(stack, headers=bearer(ALICE))
    assert refused.value.status == 429
    others = await Socket.open(stack, headers=bearer(BOB))
    await alice[0].close()
    await until(lambda: len(stack.fronts[0].app[SOCKETS]) == 2)
    again = await Socket.open(stack, headers=bearer(ALICE))
    for socket in (others, again, alice[1]):
        await socket.close()


async def test_an_old_connection_is_closed_when_nothing_runs(make_stack: StackFactory) -> None:
    stack = await make_stack(websocket_seconds=0.0)
    socket = await Socket.open(stack)
    event = await socket.receive()
    assert event["error"]["code"] == "websocket_connection_limit_reached"
    assert await socket.closed() == 1001


async def test_what_runs_when_the_time_is_over_comes_to_its_end(make_stack: StackFactory) -> None:
    stack = await make_stack(drain_seconds=30.0)
    stack.engine.play(Script("one", gate := asyncio.Event(), "two"))
    socket = await Socket.open(stack)
    await socket.create(input="Hi")
    await until(lambda: stack.engine.stats.running == 1)
    stopping = asyncio.create_task(stack.fronts.pop().stop())  # closes as a time limit does
    await socket.create(input="too late")
    events = [await socket.receive()]
    while events[-1]["type"] != "error":
        events.append(await socket.receive())
    assert events[-1]["error"]["code"] == "server_restarting"
    gate.set()
    events += await socket.rest()
    assert text_of(check_stream([event for event in events if event["type"] != "error"])) == "onetwo"
    assert (await socket.receive())["error"]["code"] == "server_restarting"
    assert await socket.closed() == 1001
    await stopping


async def test_get_without_an_upgrade_is_a_405(stack: Stack) -> None:
    async with stack.http.get(stack.url + "/v1/responses") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "POST"
        assert (await answer.json())["error"]["code"] == "method_not_allowed"


async def test_pages_of_other_origins_may_not_connect(stack: Stack) -> None:
    host = stack.url.removeprefix("http://")
    for origin in ("https://evil.example", "null", f"http://{host}.evil.example"):
        with pytest.raises(WSServerHandshakeError) as caught:
            await Socket.open(stack, origin=origin)
        assert caught.value.status == 403
    socket = await Socket.open(stack, origin=f"http://{host}")
    assert check_stream(await socket.ask(input="Hi"))["status"] == "completed"
    await socket.close()


async def test_pages_of_allowed_origins_may_connect(make_stack: StackFactory) -> None:
    stack = await make_stack(cors_origins=("https://app.example",))
    socket = await Socket.open(stack, origin="https://app.example")
    await socket.close()
    with pytest.raises(WSServerHandshakeError):
        await Socket.open(stack, origin="https://evil.example")


async def test_a_slow_reader_gets_everything_and_is_not_buffered_for(make_stack: StackFactory) -> None:
    stack = await make_stack(follower_buffer_events=4)
    text = ["x" * 50_000 for _ in range(300)]
    stack.engine.play(Script(*text))
    socket = await Socket.open(stack, max_msg_size=0)
    await socket.create(input="Hi")
    [connection] = stack.fronts[0].app[SOCKETS]
    transport: Any = connection._socket._req and connection._socket._req.transport
    await until(lambda: transport.get_write_buffer_size() > 0, 60)
    await until(lambda: stack.workers[0].running == 0, 60)
    assert transport.get_write_buffer_size() < 500_000  # of 15 MB
    assert text_of(check_stream(await socket.rest())) == "".join(text)
    await socket.close()


async def test_a_silent_connection_is_pinged(make_stack: StackFactory) -> None:
    stack = await make_stack(ping_seconds=0.01)
    raw = await stack.http.ws_connect(stack.url + "/v1/responses", autoping=False)
    async with asyncio.timeout(10):
        assert (await raw.receive()).type is WSMsgType.PING
    await raw.close()


async def test_the_other_dialect_is_spoken_too(stack: Stack) -> None:
    stack.engine.play(Script("<think>", "hm", "</think>", "ok"))
    headers = {"LlamaRelay-Dialect": "open-responses"}
    raw = await stack.http.ws_connect(stack.url + "/v1/responses", headers=headers)
    await raw.send_json({"type": "response.create", "model": MODEL, "input": "Hi"})
    types = []
    while "response.completed" not in types:
        types.append((await raw.receive_json())["type"])
    assert "response.reasoning.delta" in types
    await raw.close()


def test_the_error_frame_is_the_sdks() -> None:
    event: Any = TypeAdapter(ResponsesServerEvent).validate_python(
        {"type": "error", "status": 400, "error": {"code": None, "message": "m", "param": None, "type": "t"}},
        strict=True,
    )
    assert type(event).__name__ == "ResponseWsError"


def prompt(stack: Stack) -> str:
    """The prompt of the last generation."""
    return stack.engine.text(stack.engine.requests[-1].tokens)


def echo(stack: Stack, request: Any) -> str:
    """What the user said last."""
    return stack.engine.text(request.tokens).rpartition("user\n")[2].partition("<|im_end|>")[0]


async def send_text(raw: ClientWebSocketResponse, data: bytes) -> None:
    """A text frame that is no UTF-8."""
    await raw.send_frame(data, WSMsgType.TEXT)
