"""The dialect of every family that marks reasoning and calls inside one stream of text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workers.dialects.base import Opening
from workers.dialects.calls import CallFormat, TaggedJson, declare
from workers.dialects.history import Form, prepare
from workers.dialects.parser import MarkedParser
from workers.dialects.toolbox import Toolbox

if TYPE_CHECKING:
    from workers.dialects.history import Messages
    from workers.grammar.builder import GrammarBuilder
    from workers.probe import Traits

Variables = Callable[[str | None], dict[str, Any]]

TAIL = 256  # characters of a prompt that say what it leaves open
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
THINK = ("<think>", "</think>")


def thinking_switch(*names: str, default: bool = True) -> Variables:
    """Template variables that switch thinking on or off. `default`: where the request leaves the effort open."""

    def variables(effort: str | None) -> dict[str, Any]:
        return dict.fromkeys(names, default if effort is None else effort != "none")

    return variables


DEFAULT_SWITCH = thinking_switch("enable_thinking", "thinking")


@dataclass(frozen=True, kw_only=True)
class MarkedDialect:
    """A family, described by its markers."""

    name: str
    calls: CallFormat
    think: tuple[str, str] = THINK
    reasons: bool = True  # whether the model may open reasoning of its own accord
    variables: Variables = DEFAULT_SWITCH
    reasoning_end: str = "\n</think>\n\n"
    early_words: str = ""
    calls_end_reasoning: bool = False  # a call's trigger also ends reasoning that was not closed
    wrap: tuple[str, str] | None = None  # markers round the answer
    stop_texts: Sequence[str] = ()
    short_ids: bool = False  # call ids of nine letters and digits
    lone_preambles: bool = True  # see `history.Form`
    thinking_blocks: bool = False  # the template takes reasoning as a part of the content
    levels: Sequence[str] = ()  # efforts that the template itself tells apart

    def template_variables(self, effort: str | None) -> dict[str, Any]:
        level = {"reasoning_effort": _nearest(effort, self.levels)} if self.levels and effort is not None else {}
        return {**level, **self.variables(effort)}

    def opening(self, prompt: str) -> Opening:
        tail = prompt[-TAIL:].rstrip()
        if tail.endswith(self.think[0]):
            return Opening.REASONING
        if tail.endswith(self.think[1]) or not self.reasons:
            return Opening.ANSWER
        return Opening.MAY_REASON

    def parser(
        self, prompt: str, tools: Toolbox | None = None, *, sure: bool = False, formatted: bool = False
    ) -> MarkedParser:
        opening = self.opening(prompt)
        closed = prompt[-TAIL:].rstrip().endswith(self.think[1])
        return MarkedParser(
            opening=Opening.MAY_REASON if opening is Opening.ANSWER and not closed else opening,
            think=self.think,
            calls=self.calls,
            tools=tools,
            sure=sure,
            calls_end_reasoning=self.calls_end_reasoning,
            wrap=self.wrap,
            formatted=formatted,
        )

    def prepare(
        self, messages: Messages, tools: Toolbox | None, traits: Traits
    ) -> tuple[Messages, list[dict[str, Any]] | None]:
        form = Form(
            write_calls=self.calls.write,
            declare=lambda offered: declare(self.calls, offered),
            call_id=short_id if self.short_ids else None,
            lone_preambles=self.lone_preambles,
        )
        prepared, offered = prepare(messages, tools, traits, form)
        if self.thinking_blocks:
            prepared = list(map(_with_thinking_block, prepared))
        return prepared, offered

    def grammar(self, builder: GrammarBuilder) -> str:
        g = builder
        think_open, think_close = self.think
        answer = self._answer_rule(g)
        if g.opening is Opening.ANSWER or (g.opening is Opening.MAY_REASON and not g.may_reason):
            return answer
        triggers = self.calls.triggers if self.calls_end_reasoning and g.tools else ()
        reasoning = g.until(think_close, without=triggers)
        if g.opening is Opening.MAY_REASON:
            before = g.optional(g.terminal(r"/\n{1,2}/"))
            reasoning = g.optional(g.sequence(before, g.text(think_open), reasoning))
        return g.sequence(reasoning, answer)

    def _answer_rule(self, g: GrammarBuilder) -> str:
        begins = (self.think[0],) if g.opening is Opening.MAY_REASON else ()
        if not g.tools:
            return g.sequence(g.line_breaks(), self._wrapped(g, g.answer(not_first=begins)))
        trigger = self.calls.triggers[0]
        section = self.calls.rule(g)
        if g.must_call:
            return g.sequence(g.line_breaks(), g.text(trigger), section)
        words = self._wrapped(g, g.answer(without=self.calls.triggers, not_first=begins))
        if g.format is not None:
            return g.sequence(g.line_breaks(), g.either((g.sequence(g.text(trigger), section), words)))
        return g.either((g.sequence(g.until(trigger, without=self.calls.triggers, not_first=begins), section), words))

    def _wrapped(self, g: GrammarBuilder, words: str) -> str:
        """An answer with the markers round it, or without."""
        if self.wrap is None:
            return words
        begin, end = map(g.text, self.wrap)
        return g.either((g.sequence(begin, words, g.optional(end)), words))


def _with_thinking_block(message: dict[str, Any]) -> dict[str, Any]:
    if not (thought := message.get("reasoning_content")):
        return message
    words = [{"type": "text", "text": message["content"]}] if message["content"] else []
    return {**message, "content": [{"type": "thinking", "thinking": thought}, *words]}


def levels_of(template: str) -> tuple[str, ...]:
    """The efforts that a template tells apart; all where it has the variable and names none."""
    if "reasoning_effort" not in template:
        return ()
    return tuple(level for level in EFFORTS if f"'{level}'" in template or f'"{level}"' in template) or EFFORTS


def _nearest(effort: str, levels: Sequence[str]) -> str:
    """The level next to an effort; none only for none."""
    place = EFFORTS.index(effort)
    return min(levels, key=lambda level: (level != effort, level == "none", abs(EFFORTS.index(level) - place)))


def short_id(call_id: str) -> str:
    """Nine letters and digits that stand for a call id, always the same ones."""
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]


def reasoning_if(dialect: MarkedDialect, template: str) -> MarkedDialect:
    """The dialect for a template whose models reason only where it speaks of the family's marker."""
    return replace(ending(dialect, template), reasons=dialect.think[1] in template)


def ending(dialect: MarkedDialect, template: str) -> MarkedDialect:
    """The dialect for a template that may write one line break behind the reasoning, where others write two."""
    end = dialect.think[1]
    one = end + r"\n" in template and end + r"\n\n" not in template
    return replace(dialect, reasoning_end=dialect.reasoning_end.removesuffix("\n")) if one else dialect


PROMPTED = TaggedJson()
"""How models without a format of their own are asked to write calls: the form most models have seen."""
