"""Shorthands of these tests: the servers of one response, where every server is on this machine."""

from __future__ import annotations

from typing import Any

from shared.mcp_hosts import McpHosts
from shared.mcp_server import Server
from shared.settings import Settings
from tests.mcp_servers import Running
from workers.mcp import Servers

KINDS: list[dict[str, Any]] = [{}, {"json_response": True}, {"legacy": True}, {"old": True}]
KIND_NAMES = ["newest", "json", "with session", "old"]


def reach(*running: Running, settings: Settings | None = None, **fields: Any) -> Servers:
    """Connections to servers, labelled a, b, ... in their order."""
    given = [Server(label=label, url=server.url, **fields) for label, server in zip("abcdef", running, strict=False)]
    return Servers(given, settings or Settings(), McpHosts(["127.0.0.1"]))
