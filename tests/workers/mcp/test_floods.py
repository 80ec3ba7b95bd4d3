"""Servers that send without an end beside their answers: soon nothing more is taken from them, and the calls fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from shared.mcp_hosts import McpHosts
from shared.mcp_server import Server
from shared.schema.mcp import HttpError
from shared.settings import Settings
from tests.waiting import until
from workers.mcp import ServerFailed, Servers, intake
from workers.mcp.intake import BYTES_PER_SECOND, LINES, MESSAGES, OPENING, Intake

LOG = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}
EVENT = f"event: message\ndata: {json.dumps(LOG)}\n\n".encode()
PROTOCOL = "2025-06-18"


@dataclass(slots=True)
class Flooding:
    """A server whose streams bring what `stream` writes."""

    stream: Callable[[web.StreamResponse], Awaitable[None]]
    url: str = ""
    streams: int = 0  # that were opened
    open: int = 0  # that are
    answer: asyncio.Event = field(default_factory=asyncio.Event)  # to `tools/list`

    async def endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        self.streams += 1
        self.open += 1
        try:
            if request.path == "/sse":
                await response.write(b"event: endpoint\ndata: /mcp\n\n")
            await self.stream(response)
        except ConnectionResetError:
            pass  # the client left
        finally:
            self.open -= 1
        return response

    async def post(self, request: web.Request) -> web.StreamResponse:
        message = await request.json()
        if "id" not in message:
            return web.Response(status=202)
        match message["method"]:
            case "initialize":
                result = {"protocolVersion": PROTOCOL, "capabilities": {"tools": {}}}
                result["serverInfo"] = {"name": "f", "version": "1"}
                headers = {"mcp-session-id": "abc"}
                return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result}, headers=headers)
            case "tools/list":
                await self.answer.wait()
                tools = [{"name": "t", "inputSchema": {"type": "object"}}]
                return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": {"tools": tools}})
            case "tools/call":
                return await self.endless(request)
        error = {"code": -32601, "message": "no"}
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": error})


@asynccontextmanager
async def running(server: Flooding, *, old: bool = False, get: bool = True) -> AsyncIterator[Servers]:
    """Connections to the server; its label is a."""
    app = web.Application()
    app.router.add_post("/mcp", server.post)
    if get:
        app.router.add_get("/sse" if old else "/mcp", server.endless)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}/{'sse' if old else 'mcp'}"
    try:
        async with Servers([Server(label="a", url=server.url)], Settings(), McpHosts(["127.0.0.1"])) as servers:
            yield servers
    finally:
        await runner.cleanup()


def flood(chunk: bytes) -> Callable[[web.StreamResponse], Awaitable[None]]:
    async def stream(response: web.StreamResponse) -> None:
        while True:
            await response.write(chunk)
            await asyncio.sleep(0)

    return stream


CHUNKS = pytest.mark.parametrize(
    "chunk",
    [EVENT * 200, EVENT.replace(b"\n", b"\r\n") * 200, b": still here\n" * 5000, b":" + b"x" * 0x10000 + b"\n"],
    ids=["messages", "messages with \\r\\n", "comments", "long comments"],
)


@CHUNKS
@pytest.mark.parametrize("old", [False, True], ids=["newer", "old"])
async def test_a_stream_that_floods_fails_the_calls_that_wait(chunk: bytes, old: bool) -> None:
    server = Flooding(flood(chunk))
    async with running(server, old=old) as servers, asyncio.timeout(60):
        with pytest.raises(ServerFailed, match="sends too much besides its answers") as failed:
            await servers.list_tools("a")
        assert isinstance(failed.value.error, HttpError)
        assert failed.value.error.code == 413
        await until(lambda: server.open == 0)  # the stream was ended
        server.answer.set()
        with pytest.raises(ServerFailed, match="sends too much"):  # and is not asked again
            await servers.call("a", "t", {})


async def test_a_flood_in_the_answer_to_a_call() -> None:
    server = Flooding(flood(EVENT * 20))
    server.answer.set()
    async with running(server, get=False) as servers, asyncio.timeout(60):
        assert [tool.name for tool in await servers.list_tools("a")] == ["t"]
        with pytest.raises(ServerFailed, match="sends too much besides its answers"):
            await servers.call("a", "t", {})
        await until(lambda: server.open == 0)


async def test_a_stream_that_always_ends_is_not_opened_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MESSAGES_PER_SECOND", 0.0)  # so that a slow machine may open no more of them

    async def stream(response: web.StreamResponse) -> None:
        await response.write(b"retry: 0\ndata:\n\n")

    server = Flooding(stream)
    async with running(server) as servers, asyncio.timeout(60):
        with pytest.raises(ServerFailed, match="sends too much besides its answers"):
            await servers.list_tools("a")
    assert 10 < server.streams <= MESSAGES / OPENING


async def test_what_a_server_that_likes_to_talk_sends_is_taken() -> None:
    async def stream(response: web.StreamResponse) -> None:
        await response.write(EVENT * (MESSAGES // 2))
        server.answer.set()
        await asyncio.Event().wait()

    server = Flooding(stream)
    async with running(server) as servers, asyncio.timeout(60):
        assert [tool.name for tool in await servers.list_tools("a")] == ["t"]


def test_what_is_counted() -> None:
    now = [0.0]
    counted = Intake(1000, lambda: now[0])
    flow = counted.flow(endless=False)
    for piece in (b"data: a\n", b"\n", b"data: b", b"\r\n", b"\r\n") * (MESSAGES // 2):
        assert flow.take(piece)
    assert not flow.take(b"data: c\n\n")
    now[0] += 1
    assert all(flow.take(b"data: c\n\n") for _ in range(40))
    now[0] += 3600
    assert not all(flow.take(b"data: c\n\n") for _ in range(MESSAGES + 1))  # what was not used is not kept for ever

    now[0] += 3600
    assert flow.take(b":\n" * LINES)
    assert not flow.take(b":\n")

    stream = counted.flow(endless=True)
    now[0] += 3600
    assert stream.take(b"x" * 1000)
    assert not stream.take(b"x")
    counted.expect()  # room for two answers
    counted.expect()
    assert stream.take(b"x" * 1999)
    now[0] += 500 / BYTES_PER_SECOND
    assert stream.take(b"x" * 500)
    assert not stream.take(b"x")
    assert flow.take(b"x" * 100_000)  # of a body with a limit of its own
