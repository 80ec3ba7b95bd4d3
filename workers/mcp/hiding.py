"""Takes secrets out of what a server sent; where that takes long, beside the event loop.

One thread for all responses, so that the loop never shares the interpreter with more than one. It goes through a text once
for each secret, a few milliseconds at most, and can be interrupted in between.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec

from shared.mcp_server import Server
from shared.schema.mcp import McpListToolsTool

T = TypeVar("T", list[str], list[McpListToolsTool])

AT_ONCE = 1_000_000  # bytes, once for each secret, that are gone through on the loop: a millisecond or two
EACH = 64  # bytes that take about as long as to begin with a text

_thread = ThreadPoolExecutor(1, "mcp-secrets")


async def without_secrets(server: Server, found: T) -> T:
    """Texts, or tools, without the secrets that the server was sent."""
    if _size(found) * len(server.secrets) <= AT_ONCE:
        return _hidden(server, found)
    return await asyncio.get_running_loop().run_in_executor(_thread, _hidden, server, found)


def _size(found: list[str] | list[McpListToolsTool]) -> int:
    """About how many bytes are to be gone through, once for each secret."""
    return len(msgspec.json.encode(found)) + EACH * len(found)


def _hidden(server: Server, found: Any) -> Any:
    return [server.hide(one) if isinstance(one, str) else _hidden_tool(server, one) for one in found]


def _hidden_tool(server: Server, tool: McpListToolsTool) -> McpListToolsTool:
    return McpListToolsTool(
        name=tool.name,
        description=server.hide_within(tool.description),
        input_schema=server.hide_within(tool.input_schema),
        annotations=server.hide_within(tool.annotations),
    )
