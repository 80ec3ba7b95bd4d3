"""Tools a request offers to the model, and how it may choose among them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from shared.schema.mcp import McpListToolsTool

Name = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,128}$")]  # OpenAI's rule; any call format can write it


class FunctionTool(Struct, tag_field="type", tag="function", kw_only=True):
    """A function the client runs. `parameters` is a JSON schema; `strict` (the default) makes arguments valid by it."""

    name: Name
    parameters: dict[str, Any] | None = None
    strict: bool | None = True
    description: str | None = None


class TextFormat(Struct, tag_field="type", tag="text", kw_only=True):
    pass


class GrammarFormat(Struct, tag_field="type", tag="grammar", kw_only=True):
    definition: str
    syntax: Literal["lark", "regex"]


class CustomTool(Struct, tag_field="type", tag="custom", kw_only=True):
    """A tool whose input is text, free or by a grammar."""

    name: Name
    description: str | None = None
    format: TextFormat | GrammarFormat | None = None


class NamespaceTool(Struct, tag_field="type", tag="namespace", kw_only=True):
    """Tools under a common name, as coding agents send them."""

    name: Name
    description: str = ""
    tools: list[FunctionTool | CustomTool]


class McpToolFilter(Struct, kw_only=True):
    """Tools of an MCP server: of these names, and read-only or not; what is not given does not count."""

    tool_names: list[str] | None = None
    read_only: bool | None = None

    def matches(self, tool: McpListToolsTool) -> bool:
        named = not self.tool_names or tool.name in self.tool_names
        return named and (self.read_only is None or tool.hints("readOnlyHint") == self.read_only)

    def names(self, tool: McpListToolsTool) -> bool:
        """Whether it speaks of the tool. Unlike where tools are offered, a filter without anything and one with an
        empty list speak of none: no tool runs unasked because a list has stayed empty."""
        given = self.tool_names is not None or self.read_only is not None
        return given and self.tool_names != [] and self.matches(tool)


class ApprovalFilter(Struct, kw_only=True):
    """Which tools need an approval and which do not; one that both name needs it, and one that neither names."""

    always: McpToolFilter | None = None
    never: McpToolFilter | None = None


class McpTool(Struct, tag_field="type", tag="mcp", kw_only=True):
    """The tools of a remote MCP server, as it is stored and shown: without a path, without secrets."""

    server_label: str
    server_url: str
    server_description: str | None = None
    allowed_tools: list[str] | McpToolFilter | None = None
    require_approval: Literal["always", "never"] | ApprovalFilter
    headers: None = None

    def allows(self, tool: McpListToolsTool) -> bool:
        """Whether the request lets the model see a tool; an empty list means all, as at OpenAI."""
        if isinstance(self.allowed_tools, McpToolFilter):
            return self.allowed_tools.matches(tool)
        return not self.allowed_tools or tool.name in self.allowed_tools

    def asks_for(self, tool: McpListToolsTool) -> bool:
        """Whether a call of the tool needs an approval."""
        if isinstance(self.require_approval, str):
            return self.require_approval == "always"
        always, never = self.require_approval.always, self.require_approval.never
        return bool(always and always.names(tool)) or not (never and never.names(tool))


Tool = FunctionTool | CustomTool | NamespaceTool | McpTool


class FunctionChoice(Struct, tag_field="type", tag="function", kw_only=True):
    name: str


class CustomChoice(Struct, tag_field="type", tag="custom", kw_only=True):
    name: str


class McpChoice(Struct, tag_field="type", tag="mcp", kw_only=True):
    """A tool of a server, or any of them."""

    server_label: str
    name: str | None = None


class AllowedTools(Struct, tag_field="type", tag="allowed_tools", kw_only=True):
    mode: Literal["auto", "required"]
    tools: list[dict[str, Any]]


ToolChoice = Literal["auto", "none", "required"] | FunctionChoice | CustomChoice | McpChoice | AllowedTools
