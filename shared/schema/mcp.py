"""Remote MCP servers: their tools, and what goes wrong in calling them. Fields as in OpenAI's SDK."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class McpListToolsTool(Struct, kw_only=True):
    """A tool that a server lists. `annotations` are its hints as it sent them: `readOnlyHint`, `idempotentHint`, ..."""

    name: str
    input_schema: dict[str, Any]
    description: str | None = None
    annotations: dict[str, Any] | None = None

    def hints(self, name: str) -> bool:
        """Whether the server gives this hint, e.g. `readOnlyHint`."""
        return (self.annotations or {}).get(name) is True


class McpProtocolError(Struct, tag_field="type", tag="mcp_protocol_error", kw_only=True):
    """The server answered with a JSON-RPC error, or with what is not MCP. `code` is JSON-RPC's."""

    code: int
    message: str


class McpToolExecutionError(Struct, tag_field="type", tag="mcp_tool_execution_error", kw_only=True):
    """The tool ran and says that it failed. `content` is what it says, as a list of text parts."""

    content: Any


class HttpError(Struct, tag_field="type", tag="http_error", kw_only=True):
    """The server could not be reached or refused. `code` is the status it answered with; where there was no answer,
    what a gateway would say: 403 not allowed, 413 too large, 502 not reachable or cut off, 504 too slow."""

    code: int
    message: str


McpCallError = McpProtocolError | McpToolExecutionError | HttpError
