"""What goes wrong when an answer has begun: the stream says so as an event; nothing is written that is no stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import pytest
from aiohttp import WSMsgType
from openai.types.responses import ResponseErrorEvent
from openresponses_types.types import ErrorStreamingEvent
from redis.asyncio import Redis
from structlog.testing import capture_logs

from api import streams
from api.websocket import Connection
from shared.redis import keys, records
from tests.api.sockets import Socket
from tests.stack import MODEL, Stack
from tests.waiting import until
from tests.wire import check_stream, parse_sse, text_of
from workers.engine.scripted import Script


@pytest.fixture
async def unreadable_logs(redis: Redis) -> AsyncIterator[Redis]:
    """A Redis in which nobody may read a log, which is no outage: from `hidden` to the end of the test."""
    try:
        yield redis
    finally:
        await shown(redis)


async def hidden(redis: Redis) -> None:
    await redis.execute_command("ACL SETUSER", "default", "-xrange")  # type: ignore[no-untyped-call]


async def shown(redis: Redis) -> None:
    await redis.execute_command("ACL SETUSER", "default", "+xrange")  # type: ignore[no-untyped-call]


async def begun(stack: Stack, gate: asyncio.Event, **fields: Any) -> tuple[asyncio.Task[list[dict[str, Any]]], str]:
    """A stream whose first word is on its way, and the id of its response."""
    stack.engine.play(Script("one", gate, " two"))
    stream = asyncio.create_task(stack.stream(input="Hi", **fields))
    await until(lambda: stack.engine.stats.generated_tokens == 1)
    return stream, stack.engine.requests[-1].id


async def test_an_error_in_the_middle_of_a_stream_is_its_last_event(stack: Stack, unreadable_logs: Redis) -> None:
    gate = asyncio.Event()
    stream, response_id = await begun(stack, gate)
    await hidden(unreadable_logs)
    async with asyncio.timeout(20):
        events = await stream  # well framed up to [DONE]: there is no second head in it
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (events[-1]["type"], events[-1]["code"]) == ("error", "server_error")
    ResponseErrorEvent.model_validate(events[-1], strict=True)
    await shown(unreadable_logs)
    gate.set()
    after = events[-2]["sequence_number"]
    assert f"starting_after={after}" in events[-1]["message"]
    final = check_stream([*events[:-1], *await stack.resume(response_id, after)])
    assert (final["status"], text_of(final)) == ("completed", "one two")


async def test_in_open_responses_the_error_is_an_object(stack: Stack, unreadable_logs: Redis) -> None:
    _, response = await stack.post(input="Hi")
    await hidden(unreadable_logs)
    url = f"{stack.url}/v1/responses/{response['id']}?stream=true"
    async with stack.http.get(url, headers={"LlamaRelay-Dialect": "open-responses"}) as answer:
        [event] = parse_sse(await answer.read())
    assert ErrorStreamingEvent.model_validate_json(json.dumps(event)).error.code == "server_error"


async def test_the_connection_serves_on_after_such_a_stream(stack: Stack, unreadable_logs: Redis) -> None:
    """A second head in the body would be read as the answer to the next request."""
    _, response = await stack.post(input="Hi")
    await hidden(unreadable_logs)
    host, _, port = stack.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    query = f"/v1/responses/{response['id']}?stream=true"
    writer.write(f"GET {query} HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    async with asyncio.timeout(20):
        first = await reader.readuntil(b"\r\n0\r\n\r\n")
        second = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert first.count(b"HTTP/1.1") == 1
    assert b"event: error\n" in first
    assert b"data: [DONE]" in first
    assert second.startswith(b"HTTP/1.1 200")


async def test_an_unstored_response_ends_with_its_broken_stream(stack: Stack, unreadable_logs: Redis) -> None:
    stream, response_id = await begun(stack, asyncio.Event(), store=False)
    await hidden(unreadable_logs)
    assert (await stream)[-1]["type"] == "error"
    await until(lambda: stack.engine.stats.running == 0)
    async with asyncio.timeout(10):
        while await unreadable_logs.exists(keys.response(response_id)):
            await asyncio.sleep(0.01)


async def raw(stack: Stack, **fields: Any) -> bytes:
    """All bytes that come in answer to a request for a stream, until the server closes the connection."""
    body = json.dumps({"model": MODEL, "stream": True, "input": "Hi", **fields}).encode()
    host, _, port = stack.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    received = b""
    try:
        async with asyncio.timeout(20):
            while chunk := await reader.read(1 << 16):
                received += chunk
    except ConnectionResetError:
        pass
    writer.close()
    return received


async def test_where_not_even_that_can_be_written_the_connection_is_broken_off(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> NoReturn:
        raise ValueError("a bug")

    monkeypatch.setattr(streams, "_write", broken)
    with capture_logs() as lines:
        received = await raw(stack)
        await until(lambda: any(line["event"] == "request" for line in lines))
    assert received.startswith(b"HTTP/1.1 200")
    assert received.count(b"HTTP/1.1") == 1
    assert b"server_error" not in received
    assert [line["status"] for line in lines if line["event"] == "request"] == [500]
    assert [line["log_level"] for line in lines if line["event"] == "answer_broken_off"] == ["error"]


async def test_an_error_after_an_upgrade_breaks_the_websocket_off(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> NoReturn:
        raise ValueError("a bug")

    monkeypatch.setattr(Connection, "serve", broken)
    socket = await Socket.open(stack)
    async with asyncio.timeout(20):
        message = await socket.raw.receive()
    assert message.type in (WSMsgType.CLOSED, WSMsgType.ERROR)
    assert socket.raw.close_code == 1006  # the end without a frame: nothing that is none came


async def test_an_error_before_the_headers_is_an_envelope(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> NoReturn:
        raise ValueError("a bug")

    _, response = await stack.post(input="Hi")
    monkeypatch.setattr(records, "read_response", broken)
    status, body = await stack.get(f"/v1/responses/{response['id']}?stream=true")
    assert (status, body["error"]["code"]) == (500, "server_error")
