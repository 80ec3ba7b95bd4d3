"""The tools of one request under the names the model sees, and the way back from those names.

A namespace tool has no counterpart in chat templates: `create_issue` in the namespace `github` is offered as
`github__create_issue`. Two underscores pass every template's syntax (TypeScript types, Python calls, XML names). Names
are mapped back by table, never by splitting, so a name with underscores of its own stays unambiguous: where two would
be equal, the later one gets one more underscore.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from msgspec import structs

from shared.grammar import arguments_schema, loosened
from shared.schema.tools import CustomTool, FunctionTool, GrammarFormat, NamespaceTool, Tool

SEPARATOR = "__"
INPUT = "input"  # the one parameter under which templates know a custom tool


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """One callable tool: `name` is what the model writes, `tool.name` and `namespace` are the client's."""

    name: str
    tool: FunctionTool | CustomTool
    namespace: str | None = None

    @property
    def custom(self) -> bool:
        """Whether its input is plain text instead of JSON arguments."""
        return isinstance(self.tool, CustomTool)

    @property
    def grammar(self) -> GrammarFormat | None:
        """What a custom tool's input has to follow."""
        if isinstance(self.tool, CustomTool) and isinstance(self.tool.format, GrammarFormat):
            return self.tool.format
        return None

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON schema of the arguments, always an object's. Templates read `properties` without asking for it."""
        if isinstance(self.tool, CustomTool):
            return {
                "type": "object",
                "properties": {INPUT: {"type": "string", "description": "The input of the tool, as plain text."}},
                "required": [INPUT],
                "additionalProperties": False,
            }
        return arguments_schema(self.tool.parameters)

    @property
    def loose(self) -> bool:
        """Whether its parameters need not be kept to the letter."""
        return isinstance(self.tool, FunctionTool) and self.tool.strict is False

    def holdable(self) -> OfferedTool:
        """The same tool, with parameters that output can be held to."""
        if not isinstance(self.tool, FunctionTool) or not self.loose:
            return self
        return replace(self, tool=structs.replace(self.tool, parameters=dict(loosened(self.parameters))))

    def for_template(self) -> dict[str, Any]:
        """As chat templates expect a tool: https://huggingface.co/docs/transformers/chat_extras ."""
        function = {"name": self.name, "description": self._description(), "parameters": self.parameters}
        return {"type": "function", "function": function}

    def _description(self) -> str:
        described = self.tool.description or ""
        if (grammar := self.grammar) is None:
            return described
        kind = "Lark grammar" if grammar.syntax == "lark" else "regular expression"
        return f"{described}\n\nThe input follows this {kind}:\n{grammar.definition}".lstrip("\n")


class Toolbox:
    """Every tool of a request. Iterates in the client's order."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._offered: dict[str, OfferedTool] = {}
        self._names: dict[tuple[str | None, str], str] = {}
        for tool in tools:
            if isinstance(tool, NamespaceTool):
                for inner in tool.tools:
                    self._add(inner, tool.name)
            else:
                self._add(tool, None)

    def __iter__(self) -> Iterator[OfferedTool]:
        return iter(self._offered.values())

    def __len__(self) -> int:
        return len(self._offered)

    def get(self, name: str) -> OfferedTool | None:
        """The tool the model means by `name`."""
        return self._offered.get(name)

    def name_of(self, name: str, namespace: str | None) -> str:
        """What the model calls the client's tool; also one of an earlier turn that is no longer offered."""
        return self._names.get((namespace, name)) or _flat(name, namespace)

    def only(self, names: Iterable[tuple[str | None, str]]) -> Toolbox:
        """The part that a `tool_choice` leaves, each tool named by (namespace, name)."""
        kept = Toolbox()
        for key in names:
            if (flat := self._names.get(key)) is not None:
                kept._offered[flat] = self._offered[flat]
                kept._names[key] = flat
        return kept

    @property
    def loose(self) -> bool:
        """Whether there are functions whose parameters need not be kept to the letter."""
        return any(tool.loose for tool in self)

    def holdable(self) -> Toolbox:
        """The same tools, with parameters that output can be held to."""
        held = Toolbox()
        held._names = self._names
        held._offered = {name: tool.holdable() for name, tool in self._offered.items()}
        return held

    def for_template(self) -> list[dict[str, Any]]:
        return [tool.for_template() for tool in self]

    def _add(self, tool: FunctionTool | CustomTool, namespace: str | None) -> None:
        flat = _flat(tool.name, namespace)
        while flat in self._offered:
            flat += "_"
        self._offered[flat] = OfferedTool(flat, tool, namespace)
        self._names[namespace, tool.name] = flat


def _flat(name: str, namespace: str | None) -> str:
    return f"{namespace}{SEPARATOR}{name}" if namespace else name
