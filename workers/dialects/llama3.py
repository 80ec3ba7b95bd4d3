"""Llama 3.1, 3.2 and 3.3: a bare JSON object, `{"name": "N", "parameters": {...}}`; no reasoning.

Source: https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1/#json-based-tool-calling and the chat
templates. `<|python_tag|>` may come before it, and `"type": "function"` inside, as Llama 3.1 writes them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.dialects.arguments import dump
from workers.dialects.calls import Call
from workers.dialects.json_calls import read_object
from workers.dialects.marked import MarkedDialect
from workers.dialects.parser import Calls
from workers.dialects.stream import Steps
from workers.dialects.toolbox import OfferedTool

if TYPE_CHECKING:
    from workers.grammar.builder import GrammarBuilder

PYTHON_TAG = "<|python_tag|>"


@dataclass(frozen=True)
class BareJson:
    """An object is a call when it begins with the name of a tool; other JSON is an answer."""

    triggers: tuple[str, ...] = ("{", PYTHON_TAG)

    def read(self, calls: Calls, trigger: str) -> Steps[bool]:
        source = calls.source
        if trigger == PYTHON_TAG:
            yield from source.space()
            if (yield from source.next_is("{")) is None:
                return False
        while True:
            if not (yield from read_object(calls, "name", "parameters", opened=True, before_name=("type",))):
                return False
            yield from source.space()
            if (yield from source.next_is(";")) is None:
                return True
            yield from source.space()
            if (yield from source.next_is("{")) is None:
                return True

    def write(self, calls: Sequence[Call]) -> str:
        return "; ".join(f'{{"name": {dump(call.name)}, "parameters": {dump(call.arguments)}}}' for call in calls)

    def rule(self, g: GrammarBuilder) -> str:
        """What follows the first brace of a call."""
        return g.either(g.sequence(g.text(f'"name": {dump(tool.name)}'), parameters(g, tool)) for tool in g.tools)


def parameters(g: GrammarBuilder, tool: OfferedTool) -> str:
    """What follows a call's name."""
    return g.rule("call", g.sequence(g.text(', "parameters": '), g.arguments(tool), g.text("}")))


@dataclass(frozen=True, kw_only=True)
class LlamaDialect(MarkedDialect):
    """The grammar lets any text go by until it names a tool in the form of a call."""

    def grammar(self, builder: GrammarBuilder) -> str:
        g = builder
        if not g.tools:
            return g.answer()
        one = g.rule("one", g.sequence(g.text("{"), self.calls.rule(g)))
        more = g.sequence(g.text("; "), one)
        if g.must_call:
            return g.calls(one, more)
        if g.format is not None:
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
