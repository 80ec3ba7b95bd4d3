"""The MCP servers of one response: connections are opened when first used, shared by its calls, and closed with it."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from shared.address_guard import AddressRefused, Destination
from shared.api_keys import PUBLIC
from shared.mcp_hosts import McpHosts
from shared.mcp_server import Server
from shared.schema.mcp import McpListToolsTool, McpToolExecutionError
from shared.settings import Settings
from workers.mcp.begin import Begin, at_once
from workers.mcp.failure import ServerFailed, SessionLost, http_failure
from workers.mcp.hiding import texts_without_secrets, tools_without_secrets
from workers.mcp.places import Room, Share
from workers.mcp.rate import CallRate

if TYPE_CHECKING:  # the SDK is loaded when it is needed: it takes most of a second and 30 MB
    from mcp import Client

    from workers.mcp.connection import Connection, Kind

T = TypeVar("T")
NAMES_AT_ONCE = 4  # of one response, so that it cannot take all threads that look up names
_RATE = CallRate()  # of this process, as the setting says


class Servers:
    """The connections of one response. An async context manager; lists and calls may run in any task, many at once."""

    def __init__(
        self,
        servers: Iterable[Server],
        settings: Settings,
        hosts: McpHosts,
        rate: CallRate | None = None,
        *,
        room: Room | None = None,
        owner: str = PUBLIC,
    ) -> None:
        """`room`: what all responses of a process share; without it, as much as the settings say is for this one.
        `owner`: whose response it is."""
        names = asyncio.Semaphore(NAMES_AT_ONCE)
        share = Share(room or Room(settings.mcp_max_connections), owner)
        self._places = {server.label: _Place(server, settings, hosts, names, share) for server in servers}
        self._settings = settings
        self._rate = _RATE if rate is None else rate
        silence_libraries()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes every connection. Servers are told that their sessions end, and are not waited for long."""
        await asyncio.gather(*(place.close() for place in self._places.values()))

    async def list_tools(self, label: str) -> list[McpListToolsTool]:
        """Every tool of a server. Raises ServerFailed."""
        await load_sdk()
        from workers.mcp import tools

        place, limit = self._places[label], self._settings.mcp_max_tools
        found = await place.use(self._settings.mcp_list_seconds, lambda client: tools.list_tools(client, limit))
        return await tools_without_secrets(place.server, found)

    async def call(self, label: str, name: str, arguments: dict[str, Any], begin: Begin = at_once) -> str:
        """What a tool returns, as text for the model. `begin` is awaited right before the call is sent, when it waits
        for nothing else any more. Raises ServerFailed."""
        await load_sdk()
        from workers.mcp import tools

        place = self._places[label]
        if self._settings.mcp_calls_per_minute > 0:
            await self._rate.wait(await place.host(), self._settings.mcp_calls_per_minute)
        result = await place.use(
            self._settings.mcp_call_seconds, lambda client: tools.call_tool(client, name, arguments), begin
        )
        limit = self._settings.mcp_max_result_bytes
        if sum(len(text.encode(errors="replace")) for text in result.texts) > limit:
            raise http_failure(413, f"The tool's result has more than {limit} bytes.")
        texts = await texts_without_secrets(place.server, result.texts)
        if result.is_error:
            raise ServerFailed(McpToolExecutionError(content=[{"type": "text", "text": text} for text in texts]))
        return "\n\n".join(texts)


class _Place:
    """One server: where it is, found once, and the connection to it, made again when it broke."""

    def __init__(
        self,
        server: Server,
        settings: Settings,
        hosts: McpHosts,
        names: asyncio.Semaphore,
        share: Share,
    ) -> None:
        """`names`: held while its name is looked up."""
        self.server = server
        self._settings = settings
        self._hosts = hosts
        self._names = names
        self._share = share
        self._target: asyncio.Task[Destination] | None = None
        self._kind: Kind | None = None
        self._connections: list[Connection] = []
        self._closed = False

    async def host(self) -> str:
        """The server's host and port, "" where they cannot be found."""
        try:
            target = await self._find()
        except AddressRefused:
            return ""
        return f"{target.host}:{target.port}"

    async def use(self, seconds: float, work: Callable[[Client], Awaitable[T]], begin: Begin = at_once) -> T:
        """What `work` returns. Raises ServerFailed."""
        try:
            return await self._connection().use(seconds, work, begin)
        except SessionLost:
            try:
                return await self._connection().use(seconds, work, begin)
            except SessionLost as lost:
                raise lost.failure from None

    async def close(self) -> None:
        self._closed = True
        if self._target is not None:
            self._target.cancel()
        await asyncio.gather(*(connection.closed() for connection in self._connections))

    def _connection(self) -> Connection:
        from workers.mcp.connection import Connection

        if self._closed:
            raise http_failure(502, "The connection to the server is closed.")
        if not self._connections or self._connections[-1].broken:
            if self._connections:
                self._kind = self._connections[-1].kind
            self._connections.append(Connection(self.server, self._settings, self._find, self._kind, self._share))
        return self._connections[-1]

    async def _find(self) -> Destination:
        if self._target is None:
            self._target = asyncio.create_task(self._look_up())
        return await asyncio.shield(self._target)

    async def _look_up(self) -> Destination:
        try:
            async with asyncio.timeout(self._settings.mcp_connect_seconds), self._names:
                return await self._hosts.check(self.server.url)
        except TimeoutError:
            raise AddressRefused("its host cannot be found in time") from None


async def load_sdk() -> None:
    """Loads the SDK in a thread, so that what else runs in this process is not held up. A worker that allows remote
    MCP may call it when it starts."""
    for name in ("workers.mcp.tools", "workers.mcp.connection"):
        await asyncio.to_thread(importlib.import_module, name)


def silence_libraries() -> None:
    """The libraries' logs show addresses and messages. What they would say is in ServerFailed."""
    for name in ("mcp.client", "mcp.shared", "client", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
