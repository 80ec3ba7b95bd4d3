"""Takes secrets out of what a server sent; where that takes long, beside the event loop.

One thread for all responses, so that the loop never shares the interpreter with more than one. It goes through a text
once for each secret, a few milliseconds at most, and can be interrupted in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from shared.mcp_server import Server
from shared.schema.mcp import McpListToolsTool

T = TypeVar("T", str, McpListToolsTool)

AT_ONCE = 1_000_000  # bytes, once for each secret, that are gone through on the loop: a millisecond or two
EACH = 64  # bytes that take about as long as to begin with a text

_thread = ThreadPoolExecutor(1, "mcp-secrets")


async def texts_without_secrets(server: Server, texts: Sequence[str]) -> list[str]:
    """Texts that came from the server, without the secrets that it was sent."""
    return await _each(server, texts, server.hide)


async def tools_without_secrets(server: Server, tools: Sequence[McpListToolsTool]) -> list[McpListToolsTool]:
    """The same for what it lists, but for the names of tools and of fields."""
    return await _each(server, tools, lambda tool: _tool(server, tool))


async def _each(server: Server, found: Sequence[T], hide: Callable[[T], T]) -> list[T]:
    size = len(msgspec.json.encode(found)) + EACH * len(found)
    if size * len(server.secrets) <= AT_ONCE:
        return [hide(one) for one in found]
    return await asyncio.get_running_loop().run_in_executor(_thread, lambda: [hide(one) for one in found])


def _tool(server: Server, tool: McpListToolsTool) -> McpListToolsTool:
    return McpListToolsTool(
        name=tool.name,
        description=server.hide_within(tool.description),
        input_schema=server.hide_within(tool.input_schema),
        annotations=server.hide_within(tool.annotations),
    )
