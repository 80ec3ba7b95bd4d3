"""What a server sends costs the event loop little, however large or finely cut it is: too much of it is not read."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import mcp_types as types
import pytest
from aiohttp import web
from hypothesis import strategies as st
from mcp.client import streamable_http

from shared import mcp_server
from shared.mcp_hosts import McpHosts
from shared.mcp_server import Server
from shared.schema.mcp import HttpError, McpProtocolError
from shared.settings import Settings
from tests.mcp_servers import faulty, status
from tests.workers.mcp.reaching import reach
from workers.mcp import Room, ServerFailed, Servers, result
from workers.mcp.connection import MAX_MESSAGE, TOO_LONG, max_body
from workers.mcp.intake import (
    ELEMENTS,
    LINES,
    LINES_PER_SECOND,
    LIST_ELEMENTS,
    MESSAGES,
    MESSAGES_PER_SECOND,
    Elements,
)

TOOL = {"name": "t", "inputSchema": {"type": "object"}}
SECRETS = "?" + "&".join(f"k{i}=a9{i:03}xQ7z" for i in range(80))
WAYS = ["json", "events", "old"]


@dataclass(slots=True)
class Answering:
    """A server whose answers to lists and calls are `answer(method, params)`, in one of three ways."""

    answer: Callable[[str, dict[str, Any]], dict[str, Any]]
    way: str = "json"
    content_type: str = "text/event-stream"  # of events
    encode: Callable[[str], bytes] = str.encode  # the JSON in them
    asked: list[str] = field(default_factory=list)
    old: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await response.write(b"event: endpoint\ndata: /mcp\n\n")
            while True:
                await response.write(f"data: {await self.old.get()}\n\n".encode())
        except ConnectionResetError:
            return response  # the client left

    async def post(self, request: web.Request) -> web.StreamResponse:
        message = await request.json()
        method = message["method"]
        if "id" not in message:
            return web.Response(status=202)
        self.asked.append(method)
        said: dict[str, Any] = {"error": {"code": -32601, "message": "no"}}
        if method == "initialize":
            known = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
            said = {"result": {**known, "serverInfo": {"name": "a", "version": "1"}}}
        elif method in ("tools/list", "tools/call"):
            said = self.answer(method, message.get("params") or {})
            said = said if "error" in said else {"result": said}
        text = json.dumps({"jsonrpc": "2.0", "id": message["id"], **said})
        if self.way == "old":
            self.old.put_nowait(text)
            return web.Response(status=202)
        if self.way == "json":
            return web.Response(text=text, content_type="application/json")
        encode, kind = (self.encode, self.content_type) if method == "tools/list" else (str.encode, "text/event-stream")
        return web.Response(body=b"data: " + encode(text) + b"\n\n", headers={"Content-Type": kind})


@asynccontextmanager
async def running(
    server: Answering, settings: Settings | None = None, query: str = "", **fields: Any
) -> AsyncIterator[Servers]:
    """Connections to the server; its label is a."""
    app = web.Application()
    app.router.add_post("/mcp", server.post)
    if server.way == "old":
        app.router.add_get("/sse", server.stream)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    url = f"http://{host}:{port}/{'sse' if server.way == 'old' else 'mcp'}{query}"
    given = Server(label="a", url=url, **fields)
    try:
        async with asyncio.timeout(60), Servers([given], settings or Settings(), McpHosts(["127.0.0.1"])) as servers:
            yield servers
    finally:
        await runner.cleanup()


class Reading:
    """The SDK's reader of messages, and how many values each message had."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.most = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def validate_json(self, data: str | bytes, **options: Any) -> Any:
        text = data if isinstance(data, str) else data.decode()
        self.most = max(self.most, sum(map(text.count, "{[,")))
        return self._reader.validate_json(data, **options)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Reading:
    reading = Reading(types.jsonrpc_message_adapter)
    monkeypatch.setattr(types, "jsonrpc_message_adapter", reading)
    monkeypatch.setattr(streamable_http, "jsonrpc_message_adapter", reading)
    return reading


# --- values of JSON ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
async def test_a_list_of_very_many_values_is_not_read(way: str, read: Reading) -> None:
    server = Answering(lambda *_: {"tools": [TOOL] * 60_000}, way)
    async with running(server) as servers:
        with pytest.raises(ServerFailed, match=f"has more than {LIST_ELEMENTS} JSON values") as failed:
            await servers.list_tools("a")
    assert isinstance(failed.value.error, HttpError)
    assert failed.value.error.code == 413
    assert 0 < read.most <= LIST_ELEMENTS


@pytest.mark.parametrize("way", WAYS)
async def test_a_result_of_very_many_parts_is_not_read(way: str, read: Reading) -> None:
    server = Answering(lambda *_: {"content": [{"type": "text", "text": ""}] * 30_000}, way)
    async with running(server) as servers:
        with pytest.raises(ServerFailed, match=r"has more than \d+ JSON values"):
            await servers.call("a", "t", {})
    assert 0 < read.most <= (LIST_ELEMENTS if way == "old" else ELEMENTS)


@pytest.mark.parametrize("way", WAYS)
async def test_what_a_text_holds_is_not_counted(way: str) -> None:
    text = json.dumps([{"a": '"', "b": "\\"}] * 20_000)
    server = Answering(lambda *_: {"content": [{"type": "text", "text": text}]}, way)
    async with running(server) as servers:
        assert await servers.call("a", "t", {}) == text


async def test_events_in_another_encoding_are_not_read() -> None:
    """In UTF-7 a brace is `+AHs-`: nothing of what comes could be counted."""
    server = Answering(lambda *_: {"tools": [TOOL]}, "events", content_type="text/event-stream; charset=utf-7")
    server.encode = lambda text: text.replace("{", "+AHs-").encode()
    async with running(server) as servers:
        with pytest.raises(ServerFailed):
            await servers.list_tools("a")
    server.encode = str.encode
    async with running(server) as servers:
        assert [tool.name for tool in await servers.list_tools("a")] == ["t"]


VALUES = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('a",[{}]\\\né:')),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.sampled_from('b,"{\\')), inner, max_size=4),
)


def values(value: Any) -> int:
    """Objects and arrays, and how much more than one thing is in each."""
    if not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(len(value) - 1, 0) + sum(map(values, inner))


@hypothesis.given(
    VALUES, st.booleans(), st.sampled_from([None, 1]), st.integers(1, 9), st.sampled_from(["\n", "\r\n", "\r", ""])
)
def test_what_is_counted(value: Any, ascii_only: bool, indent: int | None, size: int, newline: str) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    if newline:  # an event
        text = f':"{newline}' + "".join(f"data: {line}{newline}" for line in text.split("\n")) + f': "[,{newline}'
    body = text.encode()
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    expected = values(value)
    for most, fits in ((expected, True), (expected - 1, False)):
        elements = Elements(most)
        elements.begin(events=bool(newline))
        taken = [elements.take(chunk) for chunk in chunks]
        assert all(taken) is fits


def test_each_event_is_counted_for_itself() -> None:
    for newline in (b"\n", b"\r\n", b"\r"):
        elements = Elements(3)
        elements.begin(events=True, each=True)
        event = b"data: [1,2,3]" + newline + newline
        assert all(elements.take(bytes([byte])) for byte in event * 5)
        assert elements.take(event * 5)
        assert not elements.take(b"data: [1,2,3," + newline + b"data:4]")
    elements = Elements(3)
    elements.begin(events=True, each=True)
    parts = [b"data: [1,2" + b"\r", b"\n", b"data: ,3,4]"]  # no blank line between them
    assert [elements.take(part) for part in parts] == [True, True, False]
    elements = Elements(3)
    elements.begin(events=True)  # together
    assert [elements.take(b"data: [1,2]\n\n") for _ in range(2)] == [True, False]


# --- whole lists ------------------------------------------------------------------------------------------------------


def pages(tool: Callable[[int], list[dict[str, Any]]]) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """Answers that always have another page."""

    def answer(_: str, params: dict[str, Any]) -> dict[str, Any]:
        number = int(params.get("cursor", 0))
        return {"tools": tool(number), "nextCursor": str(number + 1)}

    return answer


@pytest.mark.parametrize("way", WAYS)
async def test_all_pages_together_have_so_many_bytes(way: str) -> None:
    settings = Settings(mcp_max_result_bytes=1000)
    server = Answering(pages(lambda n: [{**TOOL, "name": f"t{n}", "description": "x" * 30_000}]), way)
    what = "list of tools has more than 69536 bytes" if way != "old" else "lists or streams without an end"
    async with running(server, settings) as servers:
        with pytest.raises(ServerFailed, match=what):
            await servers.list_tools("a")
    whole = 1 if way != "old" else 3  # there it is counted with what came before
    assert max_body(settings) == 69536
    assert server.asked.count("tools/list") <= whole * 3 + 1


@pytest.mark.parametrize("way", ["json", "events"])
async def test_all_pages_together_have_so_many_values(way: str) -> None:
    many = {**TOOL, "inputSchema": {"type": "object", "enum": [1] * (LIST_ELEMENTS // 3)}}
    server = Answering(pages(lambda n: [{**many, "name": f"t{n}"}]), way)
    async with running(server) as servers:
        with pytest.raises(ServerFailed, match=f"list of tools has more than {LIST_ELEMENTS} JSON values"):
            await servers.list_tools("a")
    assert server.asked.count("tools/list") == 3


@pytest.mark.parametrize("way", WAYS)
async def test_tools_that_come_twice_count_twice(way: str) -> None:
    server = Answering(pages(lambda _: [TOOL] * 10), way)
    async with running(server, Settings(mcp_max_tools=25)) as servers:
        with pytest.raises(ServerFailed, match="more than 25 tools"):
            await servers.list_tools("a")
    assert server.asked.count("tools/list") == 3


async def test_each_list_is_counted_for_itself() -> None:
    server = Answering(lambda *_: {"tools": [{**TOOL, "description": "x" * 40_000}]})
    async with running(server, Settings(mcp_max_result_bytes=1000)) as servers:
        for _ in range(3):
            assert [tool.name for tool in await servers.list_tools("a")] == ["t"]


async def test_long_messages_are_read_one_after_the_other() -> None:
    room = Room(0)
    seen: list[str] = []

    async def read(name: str) -> None:
        await room.turn()
        seen.append(name)

    async def other() -> None:
        while len(seen) < 6:
            seen.append(".") if seen and seen[-1] != "." else None
            await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await asyncio.gather(other(), *(read(name) for name in "abc"))
    assert "".join(seen).strip(".") == "a.b.c"


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hiding(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The thread in which secrets are taken out of each text, and the text's length."""
    seen: list[tuple[str, int]] = []
    replace = mcp_server.replaced

    def replaced(text: str, secrets: Any) -> str:
        seen.append((threading.current_thread().name, len(text)))
        return replace(text, secrets)

    monkeypatch.setattr(mcp_server, "replaced", replaced)
    return seen


@pytest.mark.parametrize(("parts", "beside"), [(["a9000xQ7z"], False), (["x" * 200_000], True), (["a"] * 3000, True)])
async def test_secrets_are_taken_out_of_what_is_long_beside_the_loop(
    parts: list[str], beside: bool, hiding: list[tuple[str, int]]
) -> None:
    server = Answering(lambda *_: {"content": [{"type": "text", "text": part} for part in parts]})
    async with running(server, query=SECRETS) as servers:
        output = await servers.call("a", "t", {})
    assert output == "\n\n".join(part.replace("a9000xQ7z", "<redacted>") for part in parts)
    assert [length for _, length in hiding] == [len(part) for part in parts]
    assert {name.startswith("mcp-secrets") for name, _ in hiding} == {beside}


async def test_secrets_are_found_once_for_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    find = mcp_server.secrets_of
    monkeypatch.setattr(mcp_server, "secrets_of", lambda url, *rest: (found.append(url), find(url, *rest))[1])
    tools = [{**TOOL, "name": f"t{i}", "description": "a9000xQ7z"} for i in range(10)]

    def answer(method: str, _: Any) -> dict[str, Any]:
        return {"tools": tools} if method == "tools/list" else {"content": [{"type": "text", "text": "a"}] * 5}

    async with running(Answering(answer), query=SECRETS) as servers:
        assert {tool.description for tool in await servers.list_tools("a")} == {"<redacted>"}
        await servers.call("a", "t", {})
    assert len(found) == 1


async def test_what_is_too_long_is_refused_before_secrets_are_taken_out(hiding: list[tuple[str, int]]) -> None:
    server = Answering(lambda *_: {"content": [{"type": "text", "text": "x" * 5000}]})
    async with running(server, Settings(mcp_max_result_bytes=1000)) as servers:
        with pytest.raises(ServerFailed, match="result has more than 1000 bytes"):
            await servers.call("a", "t", {})
    assert hiding == []


@pytest.mark.parametrize("length", [TOO_LONG - 100, TOO_LONG + 100])
async def test_a_long_error_message(length: int, hiding: list[tuple[str, int]]) -> None:
    text = "a9000xQ7z" + "x" * (length - 9)
    server = Answering(lambda *_: {"error": {"code": -32050, "message": text}})
    async with running(server, query=SECRETS) as servers:
        with pytest.raises(ServerFailed) as failed:
            await servers.call("a", "t", {})
    assert isinstance(failed.value.error, McpProtocolError)
    shown = ("<redacted>" + text[9:])[:MAX_MESSAGE]
    assert failed.value.error.message == (
        shown if length < TOO_LONG else "The server refused this with a message that is too long to be shown."
    )
    assert max((seen for _, seen in hiding), default=0) <= TOO_LONG


@pytest.mark.parametrize("secret", ['{"key":"abc123def456"}', 'ab\\cd"12345678'])
@pytest.mark.parametrize("where", [lambda secret: {"got": secret}, lambda secret: {secret: 1}], ids=["value", "name"])
async def test_a_secret_in_structured_content(secret: str, where: Callable[[str], dict[str, Any]]) -> None:
    body = {"content": [], "structuredContent": where(secret)}
    async with running(Answering(lambda *_: body), headers={"X-Auth": secret}) as servers:
        output = await servers.call("a", "t", {})
    assert "<redacted>" in output
    assert "abc123" not in output
    assert "12345678" not in output


# --- odd answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [ELEMENTS - 1, 100_000])
def test_a_text_of_many_brackets_beside_structured_content(depth: int) -> None:
    deep = "[" * depth
    called = types.CallToolResult(content=[types.TextContent(text=deep)], structured_content={"a": 1})
    assert result.texts(called) == [deep, '{"a":1}']


def test_texts_that_cannot_be_the_structured_content_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(result, "_value", lambda text: (read.append(text), text)[1])
    small, large = '{"a": 1}', json.dumps([[]] * (ELEMENTS + 1))
    parts: list[types.ContentBlock] = [types.TextContent(text=text) for text in (small, large, small)]
    result.texts(types.CallToolResult(content=parts, structured_content={"b": 1}))
    assert read == [small]


async def test_a_refusal_that_is_nested_deeply() -> None:
    body = b'{"jsonrpc":"2.0","id":0,"error":{"code":1,"message":"x","data":' + b'{"a":' * 10_000
    async with faulty(status(400, body, "application/json")) as server, reach(server) as servers:
        with pytest.raises(ServerFailed, match="status 400") as failed:
            await servers.list_tools("a")
    assert isinstance(failed.value.error, HttpError)


# --- what people read -------------------------------------------------------------------------------------------------


def test_the_limits_are_those_of_the_documentation() -> None:
    text = " ".join((Path(__file__).parents[3] / "docs" / "mcp.md").read_text().split())
    found = re.search(r"more than (\d+) progress or log messages at once and (\d+) a second", text)
    assert found is not None
    assert [float(number) for number in found.groups()] == [MESSAGES, MESSAGES_PER_SECOND]
    found = re.search(r"one message may have (\d+) JSON values .*? a list of tools (\d+), all pages together", text)
    assert found is not None
    assert [int(number) for number in found.groups()] == [ELEMENTS, LIST_ELEMENTS]
    assert LINES > LINES_PER_SECOND
