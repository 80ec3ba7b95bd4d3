"""The MCP servers of one response: connections are opened when first used, shared by its calls, and closed with it."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from shared.mcp_hosts import McpHosts
from shared.schema.mcp import McpListToolsTool
from shared.settings import Settings
from shared.mcp_server import Server


class Servers:
    """The connections of one response. Use it as an async context manager, in one task; calls may come from any."""

    def __init__(self, servers: Iterable[Server], settings: Settings, hosts: McpHosts) -> None:
        self._servers = {server.label: server for server in servers}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def list_tools(self, label: str) -> list[McpListToolsTool]:
        """Every tool of a server. Raises ServerFailed."""
        raise NotImplementedError

    async def call(self, label: str, name: str, arguments: dict[str, Any]) -> str:
        """What a tool returns, as text for the model. Raises ServerFailed."""
        raise NotImplementedError
