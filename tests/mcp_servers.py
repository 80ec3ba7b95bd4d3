"""Real MCP servers on 127.0.0.1, for tests: those of the SDK, and one whose HTTP is broken on purpose.

Each is an async context manager that yields a `Running`: its URL, and what it was asked.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
import uvicorn
from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cli.ports import free_port

TIKTOKEN = """# ⏳ tiktoken

tiktoken is a fast [BPE](https://en.wikipedia.org/wiki/Byte_pair_encoding) tokeniser for use with
OpenAI's models.

```python
import tiktoken
enc = tiktoken.get_encoding("o200k_base")
assert enc.decode(enc.encode("hello world")) == "hello world"
```

## Installation

Install it with `pip install tiktoken`.

The tokeniser API is documented in `tiktoken/core.py`."""

_UNGUARDED = TransportSecuritySettings(enable_dns_rebinding_protection=False)  # tests also come by made-up names


@dataclass(slots=True)
class Request:
    """One HTTP request that a server got."""

    method: str
    path: str  # with the query
    headers: dict[str, str]
    messages: list[str] = field(default_factory=list)  # methods of the JSON-RPC messages in its body


@dataclass(slots=True)
class Running:
    """A server that runs, and what it was asked."""

    url: str
    requests: list[Request] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # of tools, as they began
    open_requests: int = 0  # that are being answered
    started: asyncio.Event = field(default_factory=asyncio.Event)  # set when the slow tool is called
    release: asyncio.Event = field(default_factory=asyncio.Event)  # lets the slow tool return
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)  # set when the slow tool was cancelled
    stop: Callable[[], Awaitable[None]] | None = None  # ends the server at once, with its connections

    @property
    def port(self) -> int:
        return int(self.url.partition("://")[2].partition("/")[0].rpartition(":")[2])

    @property
    def messages(self) -> list[str]:
        """The JSON-RPC methods in the order of their requests."""
        return [method for request in self.requests for method in request.messages]


# --- servers of the SDK -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def documentation_server(**options: Any) -> AsyncIterator[Running]:
    """Imitates gitmcp.io/openai/tiktoken: `fetch_tiktoken_documentation` (no arguments), `search_...` (a query)."""
    server = MCPServer("GitMCP", log_level="ERROR")
    running = Running("")

    @server.tool(
        name="fetch_tiktoken_documentation",
        description="Fetch entire documentation file from GitHub repository: openai/tiktoken. Useful for general "
        "questions. Always call this tool first if asked about openai/tiktoken.",
        structured_output=False,
    )
    def fetch() -> str:
        running.calls.append(("fetch_tiktoken_documentation", {}))
        return TIKTOKEN

    @server.tool(
        name="search_tiktoken_documentation",
        description="Semantically search within the fetched documentation from GitHub repository: openai/tiktoken.",
        structured_output=False,
    )
    def search(query: str) -> str:
        running.calls.append(("search_tiktoken_documentation", {"query": query}))
        found = [part for part in TIKTOKEN.split("\n\n") if query.lower() in part.lower()]
        return "\n\n".join(found) or f"No results for {query}."

    async with serve(server, running, **options):
        yield running


@asynccontextmanager
async def calculator(**options: Any) -> AsyncIterator[Running]:
    """`add` (read-only, idempotent) and `reset` (neither)."""
    server = MCPServer("calculator", log_level="ERROR")
    running = Running("")

    @server.tool(
        description="Adds two numbers.",
        annotations=types.ToolAnnotations(read_only_hint=True, idempotent_hint=True, title="Add"),
    )
    def add(a: int, b: int) -> int:
        running.calls.append(("add", {"a": a, "b": b}))
        return a + b

    @server.tool(
        annotations=types.ToolAnnotations(read_only_hint=False, destructive_hint=True), structured_output=False
    )
    def reset() -> str:
        """Forgets everything."""
        running.calls.append(("reset", {}))
        return "done"

    async with serve(server, running, **options):
        yield running


@asynccontextmanager
async def slow_server(**options: Any) -> AsyncIterator[Running]:
    """`wait`, which sets `started`, and returns when `release` is set; and `quick`."""
    server = MCPServer("slow", log_level="ERROR")
    running = Running("")

    @server.tool(structured_output=False)
    async def wait() -> str:
        """Waits."""
        running.calls.append(("wait", {}))
        running.started.set()
        try:
            await running.release.wait()
        except asyncio.CancelledError:
            running.cancelled.set()
            raise
        return "waited"

    async def waiting(name: str) -> str:
        running.calls.append((name, {}))
        running.started.set()
        await running.release.wait()
        return name

    @server.tool(structured_output=False, annotations=types.ToolAnnotations(read_only_hint=True))
    async def look() -> str:
        """Waits like `wait`, and changes nothing."""
        return await waiting("look")

    @server.tool(structured_output=False, annotations=types.ToolAnnotations(read_only_hint=False))
    async def change() -> str:
        """Waits like `wait`."""
        return await waiting("change")

    @server.tool(structured_output=False)
    async def quick() -> str:
        """Does not wait."""
        running.calls.append(("quick", {}))
        return "quick"

    async with serve(server, running, **options):
        yield running


class Answer(BaseModel):
    name: str


@asynccontextmanager
async def many_results(**options: Any) -> AsyncIterator[Running]:
    """Tools with every kind of result, and those that fail or ask back."""
    server = MCPServer("results", log_level="ERROR")
    running = Running("")

    def tool(function: Callable[..., Any]) -> None:
        server.tool(structured_output=False)(function)

    @tool
    def image() -> list[types.ContentBlock]:
        data = base64.b64encode(b"\x89PNG" + b"x" * 96).decode()
        return [
            types.TextContent(text="Here it is:"),
            types.ImageContent(data=data, mime_type="image/png"),
            types.AudioContent(data=data, mime_type="audio/wav"),
        ]

    @tool
    def resource() -> list[types.ContentBlock]:
        blob = base64.b64encode(b"12345").decode()
        return [
            types.EmbeddedResource(resource=types.TextResourceContents(uri="file:///a.txt", text="All of the text.")),
            types.EmbeddedResource(
                resource=types.BlobResourceContents(uri="file:///b.bin", blob=blob, mime_type="application/x-b")
            ),
            types.ResourceLink(name="c", uri="https://example.com/c", description="the third"),
        ]

    @tool
    def structured() -> types.CallToolResult:
        return types.CallToolResult(content=[], structured_content={"celsius": 21, "place": "Zürich"})

    @tool
    def both() -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(text="It is warm.")], structured_content={"celsius": 21})

    @tool
    def repeated() -> types.CallToolResult:
        return types.CallToolResult(
            content=[types.TextContent(text='{"celsius": 21}')], structured_content={"celsius": 21}
        )

    @tool
    def empty() -> types.CallToolResult:
        return types.CallToolResult(content=[])

    @tool
    def big(size: int) -> str:
        return "é" * (size // 2)

    @tool
    def fails() -> str:
        raise ToolError("there is no such place")

    @tool
    def fails_in_parts() -> types.CallToolResult:
        parts: list[types.ContentBlock] = [types.TextContent(text="one"), types.TextContent(text="two")]
        return types.CallToolResult(content=parts, is_error=True)

    @tool
    def echo_headers(name: str) -> str:
        return running.requests[-1].headers.get(name, "")

    @tool
    def echo(text: str) -> str:
        return text

    @tool
    async def asks(ctx: Context[Any]) -> str:
        answer = await ctx.elicit("What is your name?", Answer)
        return f"{answer.action}"

    async with serve(server, running, **options):
        yield running


@asynccontextmanager
async def paging(tools: int, per_page: int, *, endless: bool = False, **options: Any) -> AsyncIterator[Running]:
    """`tool_0`, `tool_1`, ... in pages; or pages without an end."""
    running = Running("")

    async def list_tools(_: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        start = int(params.cursor) if params is not None and params.cursor else 0
        numbers = [0] if endless else range(start, min(start + per_page, tools))
        more = endless or start + per_page < tools
        return types.ListToolsResult(
            tools=[types.Tool(name=f"tool_{i}", input_schema={"type": "object"}) for i in numbers],
            next_cursor=str(start + per_page) if more else None,
        )

    server: Server[Any] = Server("paging", on_list_tools=list_tools, on_call_tool=_naming(running))
    async with serve(server, running, **options):
        yield running


def _naming(running: Running) -> Callable[[Any, types.CallToolRequestParams], Awaitable[types.CallToolResult]]:
    """Notes a call and returns the name of its tool."""

    async def call_tool(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        running.calls.append((params.name, dict(params.arguments or {})))
        return types.CallToolResult(content=[types.TextContent(text=params.name)])

    return call_tool


@asynccontextmanager
async def listing(*tools: types.Tool | MCPError, **options: Any) -> AsyncIterator[Running]:
    """A server of just these tools, which return their names; or one whose list fails."""
    running = Running("")

    async def list_tools(_: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        for tool in tools:
            if isinstance(tool, MCPError):
                raise tool
        return types.ListToolsResult(tools=[tool for tool in tools if isinstance(tool, types.Tool)])

    server: Server[Any] = Server("listing", on_list_tools=list_tools, on_call_tool=_naming(running))
    async with serve(server, running, **options):
        yield running


@asynccontextmanager
async def serve(
    server: MCPServer | Server[Any],
    running: Running,
    *,
    old: bool = False,
    token: str | None = None,
    port: int = 0,
    legacy: bool = False,
    json_response: bool = False,
    tls: tuple[str, str] | None = None,
    wrap: Callable[[ASGIApp], ASGIApp] | None = None,
    keep_alive: int = 5,
) -> AsyncIterator[None]:
    """Runs a server of the SDK. `old`: HTTP+SSE of 2024. `legacy`: knows only the versions with a session. `token`:
    answers 401 to any other. `tls`: files of a certificate chain and its key. `wrap`: a layer above. `keep_alive`:
    seconds that an idle connection is kept."""
    app: ASGIApp
    if old:
        assert isinstance(server, MCPServer)
        app = server.sse_app(transport_security=_UNGUARDED)
    else:
        app = server.streamable_http_app(transport_security=_UNGUARDED, json_response=json_response)
    if legacy:
        app = _without_discovery(app)
    if token is not None:
        app = _guarded(app, token)
    if wrap is not None:
        app = wrap(app)
    with _listening(port) as listener:
        scheme = "https" if tls else "http"
        running.url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/{'sse' if old else 'mcp'}"
        config = uvicorn.Config(
            _recorded(app, running),
            log_config=None,
            log_level="critical",
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=2,
            timeout_keep_alive=keep_alive,
            ssl_certfile=tls[0] if tls else None,
            ssl_keyfile=tls[1] if tls else None,
        )
        web = _Web(config)
        task = asyncio.create_task(web.serve(sockets=[listener]))

        async def stop() -> None:
            web.should_exit = True
            for connection in list(web.server_state.connections):
                if connection.transport is not None:
                    connection.transport.abort()
            await asyncio.wait({task})

        running.stop = stop
        await web.ready.wait()
        try:
            yield
        finally:
            running.release.set()
            await stop()
            await task


class _Web(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are pytest's


@contextlib.contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # not one that the system lends: a server that is stopped and started anew must find its port free
        listener.bind(("127.0.0.1", port or free_port()))
        yield listener


def _recorded(app: ASGIApp, running: Running) -> ASGIApp:
    async def recorded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        query = scope["query_string"].decode()
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        request = Request(scope["method"], scope["path"] + (f"?{query}" if query else ""), headers)
        running.requests.append(request)
        body = bytearray()

        async def reading() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                body.extend(message.get("body", b""))
                if not message.get("more_body") and body and not request.messages:
                    request.messages.append(json.loads(bytes(body)).get("method", ""))
            return message

        running.open_requests += 1
        try:
            await app(scope, reading, send)
        finally:
            running.open_requests -= 1

    return recorded


def _guarded(app: ASGIApp, token: str) -> ASGIApp:
    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(b"authorization") != f"Bearer {token}".encode():
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})
            return
        await app(scope, receive, send)

    return guarded


def _without_discovery(app: ASGIApp) -> ASGIApp:
    """Answers the newest version's first message as a server does that never heard of it."""

    async def older(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(b"mcp-method") == b"server/discover":
            await send({"type": "http.response.start", "status": 400, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})
            return
        await app(scope, receive, send)

    return older


# --- broken HTTP ------------------------------------------------------------------------------------------------------

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def faulty(answer: bytes | Handler, *, path: str = "/mcp") -> AsyncIterator[Running]:
    """A raw server that answers every request with the same bytes (but for `"id":0`, which becomes the request's) and
    then closes, or as `answer` does."""
    running = Running("")
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        running.open_requests += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            message = json.loads(body) if body else {}
            running.requests.append(Request(method, target, headers, [message["method"]] if message else []))
            running.started.set()
            if isinstance(answer, bytes):
                writer.write(answer.replace(b'"id":0', b'"id":%d' % message.get("id", 0)))
                await writer.drain()
            else:
                await answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            running.open_requests -= 1
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    running.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}"
    try:
        yield running
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def status(code: int, body: bytes = b"no", content_type: str = "text/plain", **headers: str) -> bytes:
    """A whole answer; header names are written with _ for -."""
    lines = [f"HTTP/1.1 {code} X", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never answers; returns when the client has left."""
    await reader.read()


async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Closes in the middle of a body."""
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"jsonrpc": "2.0", ')
    await writer.drain()


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends a body without an end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()
