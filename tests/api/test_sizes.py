"""Limits of what comes in: heads, bodies and frames, each with its refusal, after which the server serves on."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from tests.api.sockets import Socket
from tests.conftest import StackFactory
from tests.stack import MODEL, Stack

HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
KEY = b"Authorization: Bearer lr-not-to-be-logged\r\n"
TOO_LARGE = {
    "a header": HEAD + KEY + b"A: " + b"a" * 9000 + b"\r\n\r\n",
    "the key": HEAD + b"Authorization: Bearer lr-not-to-be-logged" + b"a" * 9000 + b"\r\n\r\n",
    "a header's name": HEAD + KEY + b"A" * 9000 + b": a\r\n\r\n",
    "a header without end": HEAD + KEY + b"A: " + b"a" * 9000,
    "the number of headers": HEAD + KEY + b"".join(b"H%d: x\r\n" % n for n in range(200)) + b"\r\n",
    "the path": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n",
}
UNREADABLE = {
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a line that is no header": HEAD + KEY + b"lr-not-to-be-logged\r\n\r\n",
    "two lengths": b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a length that is none": b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "a method that is none": b"G\0T / HTTP/1.1\r\nHost: x\r\n\r\n",
}


async def send(stack: Stack, data: bytes) -> tuple[int, Any]:
    """The status and the decoded body of the answer to raw bytes, after which the connection is closed."""
    host, _, port = stack.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(20):
            writer.write(data)
            answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize("data", TOO_LARGE.values(), ids=TOO_LARGE)
async def test_a_head_that_is_too_large_is_a_431(stack: Stack, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        status, body = await send(stack, data)
    assert (status, body["error"]["code"]) == (431, "headers_too_large")
    assert body["error"]["type"] == "invalid_request_error"
    assert not caplog.records
    assert (await stack.get("/healthz"))[0] == 200


async def test_a_header_of_megabytes_is_not_waited_for(stack: Stack) -> None:
    with suppress(ConnectionError):  # its answer is lost where the connection is closed before all of it was read
        status, _ = await send(stack, HEAD + b"A: " + b"a" * 8_000_000)
        assert status == 431
    assert (await stack.get("/healthz"))[0] == 200


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_is_no_request_is_a_400(stack: Stack, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        status, body = await send(stack, data)
    assert (status, body["error"]["code"]) == (400, "invalid_http")
    assert not caplog.records


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 1000


@pytest.mark.parametrize(
    "path", ["/v1/responses", "/v1/responses/compact", "/v1/responses/input_tokens", "/v1/conversations"]
)
async def test_a_body_that_is_too_large_is_a_413(make_stack: StackFactory, path: str) -> None:
    stack = await make_stack(max_body_bytes=10_000)
    for body in (b"x" * 20_000, pieces(20)):  # with its length told, and in chunks
        async with stack.http.post(stack.url + path, data=body, headers={"Connection": "close"}) as answer:
            assert answer.status == 413
            assert (await answer.json())["error"]["code"] == "body_too_large"
    assert stack.engine.requests == []
    assert (await stack.post(input="Hi"))[0] == 200


async def test_an_endless_body_is_refused_at_the_limit(make_stack: StackFactory) -> None:
    stack = await make_stack(max_body_bytes=10_000)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1 << 16
            yield b"x" * (1 << 16)

    try:
        async with stack.http.post(stack.url + "/v1/responses", data=endless()) as answer:
            assert answer.status == 413
    except OSError:
        pass  # it may be cut off before it reads the answer
    assert sent < 64 << 20
    assert (await stack.post(input="Hi"))[0] == 200


async def test_a_frame_that_is_too_large_is_answered_or_closes_its_connection(make_stack: StackFactory) -> None:
    stack = await make_stack(max_body_bytes=10_000)
    socket = await Socket.open(stack)
    error = await socket.error(input="x" * 12_000)  # up to twice the limit there is an answer
    assert (error["status"], error["code"]) == (413, "body_too_large")
    assert (await socket.ask(input="Hi"))[-1]["type"] == "response.completed"
    await socket.create(input="x" * 30_000)
    assert await socket.closed() == 1009
    await socket.close()
    for fragments in (3, 300):  # what comes in fragments counts as a whole
        other = await Socket.open(stack)
        writer = other.raw._writer
        with_start = json.dumps({"type": "response.create", "model": MODEL, "input": "x" * 30_000}).encode()
        size = len(with_start) // fragments + 1
        for at in range(0, len(with_start), size):
            opcode, last = (1 if at == 0 else 0), at + size >= len(with_start)
            piece = with_start[at : at + size]
            head = bytes([opcode | (0x80 if last else 0), 0x80 | 126]) + len(piece).to_bytes(2, "big") + bytes(4)
            writer.transport.write(head + piece)
        assert await other.closed() == 1009
        await other.close()
    again = await Socket.open(stack)
    assert (await again.ask(input="Hi"))[-1]["type"] == "response.completed"
    await again.close()
