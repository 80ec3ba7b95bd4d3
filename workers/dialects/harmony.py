"""gpt-oss: OpenAI's Harmony format, where every message has a channel.

    <|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>...<|return|>
    <|channel|>commentary to=functions.N <|constrain|>json<|message|>{...}<|call|>

Source: https://cookbook.openai.com/articles/openai-harmony and the chat template of openai/gpt-oss-120b. `to=` may
stand before or behind the channel. Commentary without a recipient is a preamble to a call: text of that phase. A call
ends the turn (`<|call|>`), so there is one at a time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from workers.dialects.base import Opening
from workers.dialects.calls import TaggedJson, declare
from workers.dialects.history import Form, prepare
from workers.dialects.parser import Calls, StreamParser
from workers.dialects.stream import Markers, Steps, Trimmed
from workers.dialects.toolbox import Toolbox

if TYPE_CHECKING:
    from workers.dialects.history import Messages
    from workers.grammar.builder import GrammarBuilder
    from workers.probe import Traits

START, CHANNEL, MESSAGE, CONSTRAIN = "<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"
END, RETURN, CALL = "<|end|>", "<|return|>", "<|call|>"
EFFORTS = {
    "none": "low", "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high",
}  # fmt: skip

_MESSAGE = Markers(MESSAGE)
_ENDS = Markers(END, RETURN, CALL, START)
_RECIPIENT = re.compile(r"to=functions\.([^\s<]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_CUT_HEAD = re.compile(r"(assistant|(assistant)?( to=[\w.-]*)?<\|channel\|>\w*( to=[\w.-]*)? ?(<\|constrain\|>\w*)?)?")


class HarmonyCall:
    """The body of a message to a function: its arguments."""

    triggers: tuple[str, ...] = ()

    def __init__(self, name: str) -> None:
        self._name = name

    def read(self, calls: Calls, trigger: str) -> Steps[bool]:
        arguments = calls.json(self._name)
        if arguments is None:
            return False
        yield from calls.source.space()
        if not (yield from calls.source.json_value(arguments.feed)):
            return False
        calls.end()
        return True


class HarmonyParser(StreamParser):
    """Reads one message after the other; the prompt has begun the first one."""

    def __init__(self, tools: Toolbox | None, *, sure: bool, formatted: bool) -> None:
        self._tools = tools or Toolbox()
        self._sure = sure
        self._formatted = formatted
        self._head: int | None = None  # where the head begins that is being read
        super().__init__()

    @property
    def position(self) -> int:
        """A head belongs to the reasoning when its channel turns out to be that of the analysis."""
        return self.source.position if self._head is None else self._head

    def _read(self) -> Steps[None]:
        ended: str | None = START  # the prompt's
        while ended is not None:
            if self.reasoning:
                self.conclude(START if ended == START else "")
            if ended != START:
                yield from self.source.space()
                yield from self.source.next_is(START)
            begun = yield from self.source.next_is("assistant", CHANNEL, " to=", MESSAGE)
            head: tuple[str, str] | None = None
            self._head = self.source.position - len(begun or "")
            self.source.record = [begun or ""]
            if begun == MESSAGE:
                head = ("", MESSAGE)
            elif begun is not None:
                head = yield from self.source.word(_MESSAGE, limit=512)
            record, self.source.record = "".join(self.source.record), None
            self._head = None
            if head is not None:
                ended = yield from self._message(record)
                continue
            if not _CUT_HEAD.fullmatch(record):
                self.emit("text", record)
            ended = yield from self.source.until(_ENDS, self._text)

    def _message(self, head: str) -> Steps[str | None]:
        """Reads a message's body; returns the marker that ended it."""
        recipient, channel = _RECIPIENT.search(head), _CHANNEL.search(head)
        name = channel.group(1) if channel else "final"
        if recipient:
            text = Trimmed(self._commentary, leading=False)
            calls = Calls(self, self._tools, text, sure=self._sure)
            yield from calls.run(HarmonyCall(recipient.group(1)), head)
            ended = yield from self.source.until(_ENDS, text.feed)
            text.flush()
            return ended
        if name == "analysis":
            self.think(head[head.index(CHANNEL) :])
        emit = {"analysis": self._analysis, "commentary": self._commentary}.get(name, self._text)
        if self._formatted and emit == self._text:
            yield from self.source.json_value(emit)  # what ends a message may be spelled in it
        return (yield from self.source.until(_ENDS, emit))

    def _text(self, text: str) -> None:
        if text:
            self.emit("text", text)

    def _commentary(self, text: str) -> None:
        self.emit("text", text, "commentary")

    def _analysis(self, text: str) -> None:
        self.emit("reasoning", text)


@dataclass(frozen=True)
class HarmonyDialect:
    name: str = "harmony"
    stop_texts: Sequence[str] = (RETURN, CALL)
    reasoning_end: str = f"{END}{START}assistant"
    early_words: str = ""

    def template_variables(self, effort: str | None) -> dict[str, Any]:
        """The model knows three levels; `none` is low, and the grammar leaves the analysis out where there is one."""
        return {"reasoning_effort": EFFORTS.get(effort or "medium", "medium")}

    def opening(self, prompt: str) -> Opening:
        return Opening.MAY_REASON

    def parser(
        self, prompt: str, tools: Toolbox | None = None, *, sure: bool = False, formatted: bool = False
    ) -> HarmonyParser:
        return HarmonyParser(tools, sure=sure, formatted=formatted)

    def prepare(
        self, messages: Messages, tools: Toolbox | None, traits: Traits
    ) -> tuple[Messages, list[dict[str, Any]] | None]:
        form = Form(write_calls=TaggedJson().write, declare=partial(declare, TaggedJson()))
        return prepare(_with_preambles(messages), tools, traits, form)

    def grammar(self, builder: GrammarBuilder) -> str:
        g = builder
        final = g.sequence(g.text(f"{CHANNEL}final{MESSAGE}"), g.answer(without=_ENDS.texts))
        ways: list[str] = [] if g.must_call else [final]
        before: list[str] = (
            [g.sequence(g.text(f"{CHANNEL}analysis{MESSAGE}"), self._to_next(g))] if g.may_reason else []
        )
        if g.tools:
            if g.format is None:  # all of the text would have to be by the format, a preamble too
                before.append(g.sequence(g.text(f"{CHANNEL}commentary{MESSAGE}"), self._to_next(g)))
            for tool in g.tools:
                to, body = f"to=functions.{tool.name}", g.arguments(tool)
                channel = f"{CHANNEL}commentary"
                ways.append(g.sequence(g.text(f"{channel} {to} {CONSTRAIN}json{MESSAGE}"), body))
                ways.append(g.sequence(g.text(f" {to}{channel} {CONSTRAIN}json{MESSAGE}"), body))
        if not before:
            return g.either(ways)
        return g.sequence(g.any_number(g.rule("before", g.either(before))), g.either(ways))

    def _to_next(self, g: GrammarBuilder) -> str:
        return g.sequence(g.until(END, without=_ENDS.texts), g.text(f"{START}assistant"))


def _with_preambles(messages: Messages) -> Messages:
    """The template shows either the analysis or the content of a call: the preamble goes behind the analysis. Before a
    final answer it shows neither: there the preamble is a message of its own."""
    finals = [n for n, one in enumerate(messages) if one["role"] == "assistant" and "tool_calls" not in one]
    result: Messages = []
    for position, message in enumerate(messages):
        if not message.get("content") or "tool_calls" not in message:
            result.append(message)
        elif finals and position < finals[-1]:
            result += [{"role": "assistant", "content": message["content"]}, {**message, "content": ""}]
        else:
            result.append(_with_preamble(message))
    return result


def _with_preamble(message: dict[str, Any]) -> dict[str, Any]:
    thinking = f"{message.get('thinking', '')}{END}{START}assistant{CHANNEL}commentary{MESSAGE}{message['content']}"
    return {**message, "content": "", "thinking": thinking}


HARMONY = HarmonyDialect()


def detect(template: str) -> HarmonyDialect | None:
    return HARMONY if CHANNEL in template and START in template else None
