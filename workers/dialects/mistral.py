"""Mistral: Nemo and older (a JSON list), Small 3.2 (with call ids), Devstral, Magistral and Ministral 3.

Sources: the chat templates and mistral-common's tokenizers v3, v11 and v13. All three ways are read by each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workers.dialects.arguments import dump
from workers.dialects.calls import Call, JsonList
from workers.dialects.json_calls import read_list
from workers.dialects.marked import MarkedDialect
from workers.dialects.parser import Calls
from workers.dialects.stream import Markers, Steps

if TYPE_CHECKING:
    from workers.grammar.builder import GrammarBuilder

CALLS, CALL_ID, ARGUMENTS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"
LIST = JsonList(CALLS, id_key="id")


@dataclass(frozen=True)
class MistralCalls:
    """`[TOOL_CALLS]N[ARGS]{...}` for each call, or all of them as a list."""

    with_ids: bool = False
    as_list: bool = False
    triggers: tuple[str, ...] = (CALLS,)

    def read(self, calls: Calls, trigger: str) -> Steps[bool]:
        source = calls.source
        yield from source.space()
        if (yield from source.next_is("[")) is not None:
            return (yield from read_list(calls, "name", "arguments"))
        head = yield from source.word(Markers(CALL_ID, ARGUMENTS))
        if head is not None and head[1] == CALL_ID:
            call_id = yield from source.word(Markers(ARGUMENTS))
            head = head if call_id else None
        arguments = calls.json(head[0].strip()) if head else None
        if arguments is None:
            return False
        yield from source.space()
        if not (yield from source.json_value(arguments.feed)):
            return False
        calls.end()
        return True

    def write(self, calls: Sequence[Call]) -> str:
        if self.as_list:
            return LIST.write(calls)
        return "".join(f"{CALLS}{call.name}{ARGUMENTS}{dump(call.arguments)}" for call in calls)

    def rule(self, g: GrammarBuilder) -> str:
        if self.as_list:
            return LIST.rule(g)
        call_id = g.sequence(g.text(CALL_ID), g.terminal("/[A-Za-z0-9]{9}/")) if self.with_ids else ""
        one = g.rule(
            "call",
            g.either(g.sequence(g.text(tool.name), call_id, g.text(ARGUMENTS), g.arguments(tool)) for tool in g.tools),
        )
        return g.calls(one, g.sequence(g.text(CALLS), one))


def _variables(effort: str | None) -> dict[str, Any]:
    return {} if effort is None else {"reasoning_effort": "none" if effort == "none" else "high"}


MISTRAL = MarkedDialect(
    name="mistral",
    calls=MistralCalls(),
    think=("[THINK]", "[/THINK]"),
    reasoning_end="[/THINK]",
    variables=_variables,
    short_ids=True,
)


def detect(template: str) -> MarkedDialect | None:
    if CALLS not in template:
        return None
    calls = MistralCalls(with_ids=CALL_ID in template, as_list=ARGUMENTS not in template)
    blocks = "'thinking'" in template or '"thinking"' in template
    return replace(MISTRAL, calls=calls, reasons="[THINK]" in template, thinking_blocks=blocks)
