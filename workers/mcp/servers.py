"""The MCP servers of one response: connections are opened when first used, shared by its calls, and closed with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

import mcp_types as types
from mcp import Client, MCPError
from pydantic import TypeAdapter

from shared.address_guard import AddressRefused
from shared.mcp_hosts import McpHosts, Target
from shared.schema.mcp import McpListToolsTool, McpToolExecutionError
from shared.settings import Settings
from workers.mcp.connection import Connection, Kind, SessionLost
from workers.mcp.failure import ServerFailed, http_failure, protocol_failure
from workers.mcp.rate import CallRate
from workers.mcp.result import texts
from workers.mcp.server import Server

T = TypeVar("T")
Called = types.CallToolResult | types.InputRequiredResult
_CALLED: TypeAdapter[Called] = TypeAdapter(Called)
_RATE = CallRate()  # of this process, as the setting says


class Servers:
    """The connections of one response. An async context manager; lists and calls may run in any task, and many at once."""

    def __init__(
        self, servers: Iterable[Server], settings: Settings, hosts: McpHosts, rate: CallRate | None = None
    ) -> None:
        self._places = {server.label: _Place(server, settings, hosts) for server in servers}
        self._settings = settings
        self._rate = _RATE if rate is None else rate
        silence_libraries()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(place.close() for place in self._places.values()))

    async def list_tools(self, label: str) -> list[McpListToolsTool]:
        """Every tool of a server. Raises ServerFailed."""
        return await self._places[label].use(self._settings.mcp_list_seconds, self._list)

    async def call(self, label: str, name: str, arguments: dict[str, Any]) -> str:
        """What a tool returns, as text for the model. Raises ServerFailed."""
        place = self._places[label]
        if self._settings.mcp_calls_per_minute > 0:
            await self._rate.wait(await place.host(), self._settings.mcp_calls_per_minute)
        called = await place.use(self._settings.mcp_call_seconds, lambda client: _call(client, name, arguments))
        if isinstance(called, types.InputRequiredResult):
            raise protocol_failure(
                types.INVALID_REQUEST, "The tool asks a person for input, which cannot be given here."
            )
        found = [place.server.hide(text) for text in texts(called)]
        if sum(len(text.encode(errors="replace")) for text in found) > self._settings.mcp_max_result_bytes:
            limit = self._settings.mcp_max_result_bytes
            raise http_failure(413, f"The tool's result has more than {limit} bytes.")
        if called.is_error:
            raise ServerFailed(McpToolExecutionError(content=[{"type": "text", "text": text} for text in found]))
        return "\n\n".join(found)

    async def _list(self, client: Client) -> list[McpListToolsTool]:
        limit = self._settings.mcp_max_tools
        tools: dict[str, McpListToolsTool] = {}
        cursor: str | None = None
        for _ in range(limit):  # pages; an honest one has a tool at least
            page = await client.list_tools(cursor=cursor)
            for tool in page.tools:
                tools.setdefault(tool.name, _tool(tool))
            if len(tools) > limit:
                break
            cursor = page.next_cursor
            if not cursor:
                return list(tools.values())
        raise protocol_failure(types.INVALID_REQUEST, f"The server lists more than {limit} tools (MCP_MAX_TOOLS).")


class _Place:
    """One server: where it is, found once, and the connection to it, made again when it broke."""

    def __init__(self, server: Server, settings: Settings, hosts: McpHosts) -> None:
        self.server = server
        self._settings = settings
        self._hosts = hosts
        self._target: asyncio.Task[Target] | None = None
        self._kind: Kind | None = None
        self._connections: list[Connection] = []
        self._closed = False

    async def host(self) -> str:
        """The server's host and port, as far as its URL can be read."""
        try:
            target = await self._find()
        except AddressRefused:
            return ""
        return f"{target.host}:{target.port}"

    async def use(self, seconds: float, work: Callable[[Client], Awaitable[T]]) -> T:
        """What `work` returns. Raises ServerFailed."""
        try:
            return await self._connection().use(seconds, work)
        except SessionLost:
            try:
                return await self._connection().use(seconds, work)
            except SessionLost as lost:
                raise lost.failure from None

    async def close(self) -> None:
        self._closed = True
        if self._target is not None:
            self._target.cancel()
        await asyncio.gather(*(connection.closed() for connection in self._connections))

    def _connection(self) -> Connection:
        if self._closed:
            raise http_failure(502, "The connection to the server is closed.")
        if not self._connections or self._connections[-1].broken:
            if self._connections:
                self._kind = self._connections[-1].kind
            self._connections.append(Connection(self.server, self._settings, self._find, self._kind))
        return self._connections[-1]

    async def _find(self) -> Target:
        if self._target is None:
            self._target = asyncio.create_task(self._look_up())
        return await asyncio.shield(self._target)

    async def _look_up(self) -> Target:
        try:
            async with asyncio.timeout(self._settings.mcp_connect_seconds):
                return await self._hosts.check(self.server.url)
        except TimeoutError:
            raise AddressRefused("its host cannot be found in time") from None


async def _call(client: Client, name: str, arguments: dict[str, Any]) -> Called:
    """One call. `Client.call_tool` would list the tools first where they are known from an earlier response, and take
    a result that breaks the tool's own schema for none."""
    request = types.CallToolRequest(params=types.CallToolRequestParams(name=name, arguments=arguments))
    try:
        return await client.session.send_request(request, _CALLED)
    except MCPError as error:
        if error.code != types.HEADER_MISMATCH:
            raise
    await client.list_tools()  # says which arguments have to be headers too
    return await client.session.send_request(request, _CALLED)


def _tool(tool: types.Tool) -> McpListToolsTool:
    hints = tool.annotations
    return McpListToolsTool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.input_schema,
        annotations=hints.model_dump(by_alias=True, mode="json", exclude_unset=True) if hints is not None else None,
    )


def silence_libraries() -> None:
    """The libraries' logs show addresses and messages. What they would say is in ServerFailed."""
    for name in ("mcp.client", "mcp.shared", "client", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
