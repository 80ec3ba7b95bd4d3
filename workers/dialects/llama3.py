"""Llama 3.1, 3.2 and 3.3: a bare JSON object, `{"name": "N", "parameters": {...}}`; no reasoning.

Source: https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1/#json-based-tool-calling and the chat
templates. `<|python_tag|>` may come before it, and `"type": "function"` inside, as Llama 3.1 writes them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workers.dialects.arguments import dump
from workers.dialects.calls import Call
from workers.dialects.json_calls import read_object
from workers.dialects.marked import MarkedDialect
from workers.dialects.parser import Calls, MarkedParser
from workers.dialects.stream import Steps
from workers.dialects.toolbox import OfferedTool, Toolbox

if TYPE_CHECKING:
    from workers.grammar.builder import GrammarBuilder

PYTHON_TAG = "<|python_tag|>"


@dataclass(frozen=True)
class BareJson:
    """An object is a call when it begins with the name of a tool; other JSON is an answer."""

    triggers: tuple[str, ...] = ("{", PYTHON_TAG)

    def read(self, calls: Calls, trigger: str) -> Steps[bool]:
        source = calls.source
        calls.go_back()
        if trigger == PYTHON_TAG:
            yield from source.space()
            if (yield from source.next_is("{")) is None:
                return False
        while True:
            if not (yield from self._read_call(calls)):
                return False
            yield from source.space()
            if (yield from source.next_is(";")) is None:
                return True
            yield from source.space()
            if (yield from source.next_is("{")) is None:
                return True

    def _read_call(self, calls: Calls) -> Steps[bool]:
        """Reads what follows the brace of one call."""
        return (yield from read_object(calls, "name", "parameters", opened=True, before_name=("type",)))

    def write(self, calls: Sequence[Call]) -> str:
        return "; ".join(f'{{"name": {dump(call.name)}, "parameters": {dump(call.arguments)}}}' for call in calls)

    def rule(self, g: GrammarBuilder) -> str:
        """What follows the first brace of a call."""
        return g.either(
            g.sequence(g.text('"name"'), g.text(": "), g.text(dump(tool.name)), parameters(g, tool)) for tool in g.tools
        )


def parameters(g: GrammarBuilder, tool: OfferedTool) -> str:
    """What follows a call's name. Like the name it is written in the pieces that JSON is made of, as llguidance's lexer
    takes the longest piece: an answer by a format could not go on where it has begun as a call does."""
    head = (g.text(", "), g.text('"parameters"'), g.text(": "))
    return g.rule("call", g.sequence(*head, g.arguments(tool), g.text("}")))


class BareJsonOrAnswer(BareJson):
    """The same where an answer is JSON by a format, which may begin as a call does: so one is a call when it is whole,
    as the grammar writes calls, and its arguments fit."""

    def _read_call(self, calls: Calls) -> Steps[bool]:
        from workers.grammar.arguments_fit import fit  # it knows the dialects itself

        source = calls.source
        if (yield from source.next_is('"name": ')) is None or (yield from source.peek()) != '"':
            return False
        name: list[str] = []
        if not (yield from source.json_value(name.append)):
            return False
        tool = calls.tools.get("".join(name)[1:-1])
        if tool is None or (yield from source.next_is(', "parameters": ')) is None:
            return False
        written: list[str] = []
        if not (yield from source.json_value(written.append)) or (yield from source.next_is("}")) is None:
            return False
        if not fit(tool, "".join(written)):
            return False
        arguments = calls.json(tool.name)
        assert arguments is not None
        arguments.feed("".join(written))
        calls.end()
        return True


@dataclass(frozen=True, kw_only=True)
class LlamaDialect(MarkedDialect):
    """The grammar lets any text go by until it names a tool in the form of a call."""

    def parser(
        self, prompt: str, tools: Toolbox | None = None, *, sure: bool = False, formatted: bool = False
    ) -> MarkedParser:
        dialect = replace(self, calls=BareJsonOrAnswer()) if formatted else self
        return MarkedDialect.parser(dialect, prompt, tools, sure=sure, formatted=formatted)

    def grammar(self, builder: GrammarBuilder) -> str:
        from workers.grammar.arguments_fit import make_ready

        g = builder
        if not g.tools:
            return g.answer()
        one = g.rule("one", g.sequence(g.text("{"), self.calls.rule(g)))
        more = g.sequence(g.text("; "), one)
        if g.must_call:
            return g.calls(one, more)
        if g.format is not None:
            make_ready(g.tools)
            return g.either((g.calls(one, more), g.answer()))
        found = g.rule(
            "found", g.either(g.sequence(g.until_pattern(_head(tool.name)), parameters(g, tool)) for tool in g.tools)
        )
        heads = "|".join(_head(tool.name) for tool in g.tools)
        return g.either((g.calls(found, more), g.answer(without_pattern=heads)))


def _head(name: str) -> str:
    """Regular expression for the beginning of a call, as the parser knows it."""
    space = r"[ \t\r\n]*"
    kind = rf'("type"{space}:{space}"[^"\\]*"{space},{space})*'
    return rf'\{{{space}{kind}"name"{space}:{space}"{re.escape(name)}"'


LLAMA3 = LlamaDialect(
    name="llama-3", calls=BareJson(), reasons=False, stop_texts=("<|eom_id|>",), variables=lambda effort: {}
)


def detect(template: str) -> MarkedDialect | None:
    if "<|start_header_id|>" in template and "<think>" not in template and '"parameters": ' in template:
        return LLAMA3
    return None
