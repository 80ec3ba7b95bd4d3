"""Listing and calling tools over a connection of the SDK."""

from __future__ import annotations

from typing import Any, NamedTuple

import mcp_types as types
from mcp import Client, MCPError
from pydantic import TypeAdapter

from shared.schema.mcp import McpListToolsTool
from workers.mcp.failure import protocol_failure
from workers.mcp.result import texts

Called = types.CallToolResult | types.InputRequiredResult
_CALLED: TypeAdapter[Called] = TypeAdapter(Called)


class Result(NamedTuple):
    """What a tool returned: one text for each part."""

    texts: list[str]
    is_error: bool


async def list_tools(client: Client, limit: int) -> list[McpListToolsTool]:
    """Every tool, page by page. Raises ServerFailed if there are more than `limit`, those that come twice counted
    twice, and what the SDK raises."""
    tools: dict[str, McpListToolsTool] = {}
    sent = 0
    cursor: str | None = None
    for _ in range(limit):  # pages; an honest one has a tool at least
        page = await client.list_tools(cursor=cursor)
        sent += len(page.tools)
        if sent > limit:
            break
        for tool in page.tools:
            tools.setdefault(tool.name, _tool(tool))
        cursor = page.next_cursor
        if not cursor:
            return list(tools.values())
    raise protocol_failure(types.INVALID_REQUEST, f"The server lists more than {limit} tools (MCP_MAX_TOOLS).")


async def call_tool(client: Client, name: str, arguments: dict[str, Any]) -> Result:
    """What a tool returns. Raises ServerFailed, and what the SDK raises. `Client.call_tool` would list the tools first
    where they are known from an earlier response, and refuse a result that breaks the tool's own schema."""
    request = types.CallToolRequest(params=types.CallToolRequestParams(name=name, arguments=arguments))
    try:
        called = await client.session.send_request(request, _CALLED)
    except MCPError as error:
        if error.code != types.HEADER_MISMATCH:
            raise
        await client.list_tools()  # says which arguments have to be headers too
        called = await client.session.send_request(request, _CALLED)
    if isinstance(called, types.InputRequiredResult):
        raise protocol_failure(types.INVALID_REQUEST, "The tool asks a person for input, which cannot be given here.")
    return Result(texts(called), called.is_error)


def _tool(tool: types.Tool) -> McpListToolsTool:
    hints = tool.annotations
    return McpListToolsTool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.input_schema,
        annotations=hints.model_dump(by_alias=True, mode="json", exclude_unset=True) if hints is not None else None,
    )
