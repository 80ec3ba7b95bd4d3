"""Kimi K2: a section of calls, each with an id `functions.N:INDEX` that counts through the conversation.

Source: moonshotai/Kimi-K2-Instruct `docs/tool_call_guidance.md` and the chat templates, which number the calls
themselves. K2-Thinking opens its reasoning itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workers.dialects.arguments import dump
from workers.dialects.calls import Call
from workers.dialects.marked import MarkedDialect, reasoning_if
from workers.dialects.parser import Calls
from workers.dialects.stream import Markers, Steps

if TYPE_CHECKING:
    from workers.grammar.builder import GrammarBuilder

SECTION, SECTION_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
CALL, ARGUMENTS, CALL_END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"


@dataclass(frozen=True)
class KimiCalls:
    """A section, or calls without one, as the model sometimes leaves its begin out."""

    triggers: tuple[str, ...] = (SECTION, CALL)

    def read(self, calls: Calls, trigger: str) -> Steps[bool]:
        source = calls.source
        if trigger == SECTION:
            yield from source.space()
            if (yield from source.next_is(CALL)) is None:
                return False
        while True:
            head = yield from source.word(Markers(ARGUMENTS))
            arguments = calls.json(_name(head[0])) if head else None
            if arguments is None:
                return False
            yield from source.space()
            if not (yield from source.json_value(arguments.feed)):
                return False
            yield from source.space()
            if (yield from source.next_is(CALL_END)) is None:
                return False
            calls.end()
            yield from source.space()
            if (yield from source.next_is(SECTION_END, CALL)) != CALL:
                return True

    def write(self, calls: Sequence[Call]) -> str:
        written = (
            f"{CALL}functions.{call.name}:{index}{ARGUMENTS}{dump(call.arguments)}{CALL_END}"
            for index, call in enumerate(calls)
        )
        return f"{SECTION}{''.join(written)}{SECTION_END}"

    def rule(self, g: GrammarBuilder) -> str:
        one = g.rule(
            "call",
            g.either(
                g.sequence(
                    g.text(f"{CALL}functions.{tool.name}:"), g.terminal("/[0-9]{1,4}/"), g.text(ARGUMENTS),
                    g.arguments(tool), g.text(CALL_END),
                )
                for tool in g.tools
            ),
        )  # fmt: skip
        return g.sequence(g.calls(one, one), g.text(SECTION_END))


def _name(call_id: str) -> str:
    return call_id.strip().removeprefix("functions.").rpartition(":")[0]


def _variables(effort: str | None) -> dict[str, Any]:
    return {}


KIMI = MarkedDialect(name="kimi", calls=KimiCalls(), variables=_variables, reasoning_end="</think>")


def detect(template: str) -> MarkedDialect | None:
    return reasoning_if(KIMI, template) if SECTION in template else None
