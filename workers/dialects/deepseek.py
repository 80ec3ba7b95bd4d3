"""DeepSeek R1 and its distilled models, V3 and V3.1, and V3.2 with its DSML.

Sources: the chat templates; the model cards of deepseek-ai/DeepSeek-V3.1 and DeepSeek-V3.2 (`encoding/`); llama.cpp
`common/chat.cpp`. The templates of R1, its distilled models and V3.1 do not tell the model of tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.dialects.arguments import ValueForm, dump
from workers.dialects.calls import Call, XmlParameters
from workers.dialects.marked import MarkedDialect, thinking_switch
from workers.dialects.parser import Calls
from workers.dialects.stream import Markers, Steps

if TYPE_CHECKING:
    from workers.grammar.builder import GrammarBuilder

SECTION, SECTION_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, SEPARATOR, CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"


@dataclass(frozen=True)
class DeepSeekCalls:
    """A section of calls: R1 writes the arguments into a fenced block, V3.1 bare. Both are read."""

    fenced: bool
    triggers: tuple[str, ...] = (SECTION, CALL)

    def read(self, calls: Calls, trigger: str) -> Steps[bool]:
        source = calls.source
        if trigger == SECTION:
            yield from source.space()
            if (yield from source.next_is(CALL)) is None:
                return False
        while True:
            if not (yield from self._read_call(calls)):
                return False
            yield from source.space()
            if (yield from source.next_is(SECTION_END, CALL)) != CALL:
                return True

    def _read_call(self, calls: Calls) -> Steps[bool]:
        source = calls.source
        head = yield from source.word(Markers(SEPARATOR))
        if head is None:
            return False
        name = head[0].strip()
        fenced = name == "function"
        if fenced:
            line = yield from source.word(Markers("\n"))
            name = line[0].strip() if line else ""
        arguments = calls.json(name)
        if arguments is None:
            return False
        yield from source.space()
        if fenced:
            yield from source.next_is("```json")
            yield from source.space()
        if not (yield from source.json_value(arguments.feed)):
            return False
        yield from source.space()
        if fenced:
            yield from source.next_is("```")
            yield from source.space()
        if (yield from source.next_is(CALL_END)) is None:
            return False
        calls.end()
        return True

    def write(self, calls: Sequence[Call]) -> str:
        separator = "\n" if self.fenced else ""
        written = separator.join(self._head(call.name) + dump(call.arguments) + self._tail for call in calls)
        return f"{SECTION}{written}{SECTION_END}"

    def rule(self, g: GrammarBuilder) -> str:
        one = g.rule(
            "call",
            g.either(
                g.sequence(g.text(self._head(tool.name)), g.arguments(tool), g.text(self._tail)) for tool in g.tools
            ),
        )
        next_one = g.sequence(g.text("\n"), one) if self.fenced else one
        return g.sequence(g.calls(one, next_one), g.text(SECTION_END))

    def _head(self, name: str) -> str:
        return f"{CALL}function{SEPARATOR}{name}\n```json\n" if self.fenced else f"{CALL}{name}{SEPARATOR}"

    @property
    def _tail(self) -> str:
        return f"\n```{CALL_END}" if self.fenced else CALL_END


@dataclass(frozen=True)
class DsmlCalls(XmlParameters):
    """V3.2: XML parameters that say themselves whether they are bare strings or JSON."""

    def _form(self, key_end: str) -> ValueForm | None:
        return ValueForm.TEXT if key_end == TEXT_END else ValueForm.JSON

    def _key(self, key: str, text: bool) -> str:
        return f"{self.key}{key}{TEXT_END if text else JSON_END}"

    def _key_ends(self) -> Markers:
        return Markers(TEXT_END, JSON_END)


TEXT_END, JSON_END = '" string="true">', '" string="false">'

DSML = DsmlCalls(
    begin="<｜DSML｜function_calls>",
    call='<｜DSML｜invoke name="',
    name_end='">',
    key='<｜DSML｜parameter name="',
    key_end="",
    value="",
    value_end="</｜DSML｜parameter>",
    call_end="</｜DSML｜invoke>",
    end="</｜DSML｜function_calls>",
    repeated=False,
)

OFF = thinking_switch("thinking", "enable_thinking", default=False)  # the templates' default
R1 = MarkedDialect(name="deepseek-r1", calls=DeepSeekCalls(fenced=True))
V31 = MarkedDialect(name="deepseek-v3.1", calls=DeepSeekCalls(fenced=False), reasoning_end="</think>", variables=OFF)
V32 = MarkedDialect(name="deepseek-v3.2", calls=DSML, reasoning_end="</think>", calls_end_reasoning=True, variables=OFF)


def detect(template: str) -> MarkedDialect | None:
    if "｜DSML｜" in template:
        return V32
    if SECTION in template:
        return R1 if "```" in template else V31
    return None
