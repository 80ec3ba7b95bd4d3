"""The tools of one request under the names the model sees, and the way back from those names.

A namespace tool has no counterpart in chat templates: `create_issue` in the namespace `github` is offered as
`github__create_issue`. A remote server's tool keeps its name where no other has it. Two underscores pass every
template's syntax (TypeScript types, Python calls, XML names). Names are mapped back by table, never by splitting, so a
name with underscores of its own stays unambiguous: where two would be equal, the later one gets one more underscore.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgspec import structs

from shared.grammar import arguments_schema, loosened_arguments
from shared.schema.mcp import McpListToolsTool
from shared.schema.tools import CustomTool, FunctionTool, GrammarFormat, McpTool, NamespaceTool, Tool
from shared.trials import Trials
from workers.dialects.readable import readable

SEPARATOR = "__"
LONGEST_NAME = 128  # of a remote tool, as of a client's
INPUT = "input"  # the one parameter under which templates know a custom tool


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """One callable tool: `name` is what the model writes, `tool.name` and `namespace` are the client's."""

    name: str
    tool: FunctionTool | CustomTool
    namespace: str | None = None
    server: str | None = None  # the label of the remote server that runs it
    server_description: str = ""
    needs_approval: bool = False

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

    def holdable(self, trials: Trials | None = None) -> OfferedTool:
        """The same tool, with parameters that output can be held to. Raises OutOfTime as `trials` do."""
        if not isinstance(self.tool, FunctionTool) or not self.loose:
            return self
        kept = loosened_arguments(self.parameters, trials)
        return replace(self, tool=structs.replace(self.tool, parameters=kept))

    def for_template(self, about: str = "", *, type_lists: bool = True) -> dict[str, Any]:
        """As chat templates expect a tool: https://huggingface.co/docs/transformers/chat_extras . `about`: more of its
        description; `type_lists`: whether the template takes several types of one value."""
        described = "\n\n".join(text for text in (self._description(), about) if text)
        parameters = readable(self.parameters, type_lists=type_lists)
        return {"type": "function", "function": {"name": self.name, "description": described, "parameters": parameters}}

    def _description(self) -> str:
        described = self.tool.description or ""
        if (grammar := self.grammar) is None:
            return described
        kind = "Lark grammar" if grammar.syntax == "lark" else "regular expression"
        return f"{described}\n\nThe input follows this {kind}:\n{grammar.definition}".lstrip("\n")


Listed = Mapping[str, Sequence[McpListToolsTool]]
"""The tools of remote servers by the servers' labels."""


class Toolbox:
    """Every tool of a request, in the client's order, then those of remote servers as far as `listed` has them."""

    def __init__(self, tools: Iterable[Tool] = (), listed: Listed | None = None) -> None:
        self._offered: dict[str, OfferedTool] = {}
        self._names: dict[tuple[str | None, str], str] = {}
        remote: list[tuple[McpTool, McpListToolsTool]] = []
        for tool in tools:
            if isinstance(tool, NamespaceTool):
                for inner in tool.tools:
                    self._add(inner, tool.name)
            elif isinstance(tool, McpTool):
                allowed = (one for one in (listed or {}).get(tool.server_label, ()) if tool.allows(one))
                remote += [(tool, one) for one in allowed]
            else:
                self._add(tool, None)
        for server, one in remote:  # behind the client's own, whose names stay as they are
            self._add_remote(server, one)

    def __iter__(self) -> Iterator[OfferedTool]:
        return iter(self._offered.values())

    def __len__(self) -> int:
        return len(self._offered)

    def get(self, name: str) -> OfferedTool | None:
        """The tool the model means by `name`."""
        return self._offered.get(name)

    def name_of(self, name: str, namespace: str | None, *, remote: bool = False) -> str:
        """What the model calls the client's tool, or a remote server's, whose label is then the namespace; also one of
        an earlier turn that is no longer offered."""
        known = self._names.get((_remote(namespace or "") if remote else namespace, name))
        return known or (_written(name) if remote else _flat(name, namespace))

    def only(self, kept: Iterable[OfferedTool]) -> Toolbox:
        """The part that a `tool_choice` leaves."""
        names = {tool.name for tool in kept}
        part = Toolbox()
        part._offered = {name: tool for name, tool in self._offered.items() if name in names}
        part._names = {key: name for key, name in self._names.items() if name in names}
        return part

    @property
    def loose(self) -> bool:
        """Whether there are functions whose parameters need not be kept to the letter."""
        return any(tool.loose for tool in self)

    def holdable(self, trials: Trials | None = None) -> Toolbox:
        """The same tools, with parameters that output can be held to: all together cost no more than `trials` have.
        Raises OutOfTime as they do."""
        trials = trials or Trials()
        held = Toolbox()
        held._names = self._names
        held._offered = {name: tool.holdable(trials) for name, tool in self._offered.items()}
        return held

    def for_template(self, *, type_lists: bool = True) -> list[dict[str, Any]]:
        """All as chat templates expect them. What is said of a server stands with the first of its tools, once."""
        sizes = Counter(tool.server for tool in self)
        shown: list[dict[str, Any]] = []
        told: set[str | None] = {None}
        for tool in self:
            about = "" if tool.server in told else tool.server_description
            if about and sizes[tool.server] > 1:
                about = f"About all tools of {tool.server}: {about}"
            told.add(tool.server)
            shown.append(tool.for_template(about, type_lists=type_lists))
        return shown

    def _add(self, tool: FunctionTool | CustomTool, namespace: str | None) -> None:
        flat = self._free(_flat(tool.name, namespace))
        self._offered[flat] = OfferedTool(flat, tool, namespace)
        self._names[namespace, tool.name] = flat

    def _add_remote(self, server: McpTool, listed: McpListToolsTool) -> None:
        """Constrained by its schema like a function, as far as a grammar can hold it."""
        tool = FunctionTool(
            name=listed.name, description=listed.description, parameters=listed.input_schema, strict=False
        )
        label = server.server_label
        written = _written(listed.name)
        flat = self._free(written if written not in self._offered else _flat(written, label))
        self._offered[flat] = OfferedTool(
            flat,
            tool,
            server=label,
            server_description=server.server_description or "",
            needs_approval=server.asks_for(listed),
        )
        self._names[_remote(label), listed.name] = flat

    def _free(self, flat: str) -> str:
        while flat in self._offered:
            flat += "_"
        return flat


_UNWRITABLE = re.compile(r"[^A-Za-z0-9_-]")  # servers may use it in names, no call format can


def _written(name: str) -> str:
    """A server's name of a tool as a model can write it; a long one is cut, and told from its like by a digest."""
    if len(name) > LONGEST_NAME:
        digest = hashlib.sha256(name.encode(errors="replace")).hexdigest()[:16]
        name = f"{name[: LONGEST_NAME - 17]}_{digest}"
    return _UNWRITABLE.sub("_", name) or "_"


def _flat(name: str, namespace: str | None) -> str:
    return f"{namespace}{SEPARATOR}{name}" if namespace else name


def _remote(label: str) -> str:
    """A namespace that no client's can be: theirs hold no such character."""
    return f"mcp:{label}"
