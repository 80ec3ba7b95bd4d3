"""What is known of remote MCP servers on the wire: their tools, and how their calls fail.

Forms: `ResponseOutputItem.McpListTools` and `McpToolCallError` of the `openai` SDK 3.54.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class McpListToolsTool(Struct, kw_only=True):
    """A tool of a server. `annotations` are the server's hints as it wrote them, such as `readOnlyHint`."""

    name: str
    input_schema: dict[str, Any]
    description: str | None = None
    annotations: dict[str, Any] | None = None

    def hints(self, name: str) -> bool:
        """Whether the server gives this hint, e.g. `readOnlyHint`."""
        return (self.annotations or {}).get(name) is True


class McpProtocolError(Struct, tag_field="type", tag="mcp_protocol_error", kw_only=True):
    """The server answered with a JSON-RPC error, or with something that is none of the protocol."""

    code: int
    message: str


class McpToolExecutionError(Struct, tag_field="type", tag="mcp_tool_execution_error", kw_only=True):
    """The tool said that it failed; `content` is its result's."""

    content: Any


class HttpError(Struct, tag_field="type", tag="http_error", kw_only=True):
    """The server could not be reached or refused the request; `code` is the HTTP status, or the nearest to it."""

    code: int
    message: str


McpCallError = McpProtocolError | McpToolExecutionError | HttpError
