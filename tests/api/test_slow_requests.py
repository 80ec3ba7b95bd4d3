"""Requests that never come to their end hold no connection: not silence, not half a head, not half a body."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from api.body import LEAST_RATE, deadline
from tests.conftest import StackFactory
from tests.stack import MODEL, Stack
from tests.wire import text_of
from workers.engine.scripted import Script

HEAD = b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
BODY = json.dumps({"model": MODEL, "input": "Hi"}).encode()


@asynccontextmanager
async def connected(stack: Stack) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = stack.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(30):
            yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def answer(reader: asyncio.StreamReader) -> int:
    """Reads one answer, and returns its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    [length] = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    await reader.readexactly(length)
    return int(head.split()[1])


@pytest.mark.parametrize("sent", [b"", b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Le"])
async def test_a_connection_without_a_whole_head_is_closed(make_stack: StackFactory, sent: bytes) -> None:
    stack = await make_stack(workers=0, receive_seconds=0.3)
    async with connected(stack) as (reader, writer):
        writer.write(sent)
        assert await reader.read() == b""


@pytest.mark.parametrize("path", [b"responses", b"responses/input_tokens", b"responses/compact", b"conversations"])
async def test_half_a_body_is_answered_with_408(make_stack: StackFactory, path: bytes) -> None:
    stack = await make_stack(workers=0, receive_seconds=0.3)
    async with connected(stack) as (reader, writer):
        writer.write((HEAD % 1000).replace(b"responses", path) + b"{")
        told = await reader.read()
        assert told.startswith(b"HTTP/1.1 408 ")
        assert b"\r\nConnection: close\r\n" in told
        assert json.loads(told.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"


async def test_a_body_that_only_drips_is_answered_with_408(make_stack: StackFactory) -> None:
    stack = await make_stack(workers=0, receive_seconds=0.5)
    async with connected(stack) as (reader, writer):
        writer.write(HEAD % 1_000_000)
        received = reader._buffer  # type: ignore[attr-defined]
        while not received:
            writer.write(b" ")
            await asyncio.sleep(0.01)  # the speed at which it drips
        assert received.startswith(b"HTTP/1.1 408 ")  # behind it comes a reset: not all was read that had been sent


async def test_a_kept_connection_may_be_silent_for_longer(make_stack: StackFactory) -> None:
    stack = await make_stack(receive_seconds=1.0)
    async with connected(stack) as (reader, writer):
        for _ in range(2):
            writer.write(HEAD % len(BODY) + BODY)
            assert await answer(reader) == 200
            async with connected(stack) as (silent, _):  # as long as the limit, and longer
                assert await silent.read() == b""
        writer.write(HEAD[:10])  # the next request has its limit again
        assert await reader.read() == b""


async def test_an_answer_may_take_longer(make_stack: StackFactory) -> None:
    stack = await make_stack(receive_seconds=1.0)
    gate = asyncio.Event()
    stack.engine.play(Script("one", gate, "two"), Script("one", gate, "two"))
    async with stack.http.ws_connect(stack.url + "/v1/responses") as socket:
        waiting = asyncio.create_task(stack.post(input="Hi"))
        streaming = asyncio.create_task(stack.stream(input="Hi"))
        async with connected(stack) as (silent, _):
            assert await silent.read() == b""
        gate.set()
        assert (await waiting)[0] == 200
        assert text_of((await streaming)[-1]["response"]) == "onetwo"
        await socket.send_json({"type": "response.create", "model": MODEL, "input": "Hi"})
        assert (await socket.receive_json())["type"] == "response.created"


def test_a_slow_but_steady_body_has_all_the_time_it_needs() -> None:
    size, seconds = 8 << 20, 0.0
    for received in range(0, size, LEAST_RATE):
        limit = deadline(seconds, received, 30.0)
        assert limit is not None
        assert limit >= seconds + 1
        seconds += 1
    assert deadline(1.0, size, 30.0) == 31.0  # what came fast is no credit
    assert deadline(100.0, 0, 30.0) == 30.0
    assert deadline(1e9, 0, 0.0) is None
