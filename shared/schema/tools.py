"""Tools a request offers to the model, and how it may choose among them."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct


class FunctionTool(Struct, tag_field="type", tag="function", kw_only=True):
    """A function the client runs. `parameters` is a JSON schema; `strict` (the default) makes arguments valid by it."""

    name: str
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

    name: str
    description: str | None = None
    format: TextFormat | GrammarFormat | None = None


class NamespaceTool(Struct, tag_field="type", tag="namespace", kw_only=True):
    """Tools under a common name, as coding agents send them."""

    name: str
    description: str = ""
    tools: list[FunctionTool | CustomTool]


Tool = FunctionTool | CustomTool | NamespaceTool


class FunctionChoice(Struct, tag_field="type", tag="function", kw_only=True):
    name: str


class CustomChoice(Struct, tag_field="type", tag="custom", kw_only=True):
    name: str


class AllowedTools(Struct, tag_field="type", tag="allowed_tools", kw_only=True):
    mode: Literal["auto", "required"]
    tools: list[dict[str, Any]]


ToolChoice = Literal["auto", "none", "required"] | FunctionChoice | CustomChoice | AllowedTools
