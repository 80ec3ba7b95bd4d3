"""Gemma 4: `<|tool_call>call:N{key:<|"|>text<|"|>,n:1}<tool_call|>`, and a channel for thoughts.

Source: the chat template of google/gemma-4-31B-it and https://ai.google.dev/gemma/docs/core/prompt-formatting-gemma4 .
Strings stand between `<|"|>`, keys are bare; a value may be plain JSON as well, which the grammar uses for what the
family's own form cannot be held to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workers.dialects.arguments import (
    ANNOTATIONS,
    NamedArguments,
    ValueForm,
    dump,
    parse_json,
    resolve,
    string_choices,
    value_form,
    variants,
)
from workers.dialects.calls import Call, Names, Parameters, is_possible, listed, odd_key
from workers.dialects.marked import MarkedDialect, thinking_switch
from workers.dialects.parser import Calls
from workers.dialects.stream import Emit, Markers, Steps
from workers.dialects.toolbox import OfferedTool
from workers.grammar.parts import Parts

if TYPE_CHECKING:
    from workers.grammar.builder import GrammarBuilder

BEGIN, END, QUOTE = "<|tool_call>", "<tool_call|>", '<|"|>'
MAX_DEPTH = 64  # of values inside values
_QUOTE = Markers(QUOTE)
_COLON = Markers(":")


@dataclass(frozen=True)
class Gemma4Calls:
    triggers: tuple[str, ...] = (BEGIN,)

    def read(self, calls: Calls, trigger: str) -> Steps[bool]:
        source = calls.source
        yield from source.space()
        if (yield from source.next_is("call:")) is None:
            return False
        name = yield from source.word(Markers("{"))
        arguments = calls.named(name[0].strip()) if name else None
        if arguments is None:
            return False
        while True:
            odd = yield from odd_key(calls, arguments, _COLON)  # the white space may be its own
            if odd is None:
                yield from source.space()
                if (yield from source.next_is("}")) is not None:
                    break
                odd = yield from odd_key(calls, arguments, _COLON)
            if not (yield from self._read_argument(calls, arguments, odd[0] if odd else None)):
                return False
            yield from source.space()
            yield from source.next_is(",")
        calls.end()
        yield from source.space()
        yield from source.next_is(END)
        return True

    def _read_argument(self, calls: Calls, arguments: NamedArguments, known: str | None) -> Steps[bool]:
        """`known`: its name, where that is read already."""
        source = calls.source
        key = [] if known is None else [known]
        if known is None and not (yield from _read_key(calls, key.append)):
            return False
        yield from source.space()
        if (yield from source.next_is(QUOTE)) is not None:
            arguments.begin("".join(key), form=ValueForm.TEXT)
            if (yield from source.until(_QUOTE, arguments.feed)) is None:
                return False
        else:
            arguments.begin("".join(key), form=ValueForm.JSON)
            if not (yield from _read_value(calls, arguments.feed, MAX_DEPTH)):
                return False
        arguments.end()
        return True

    def write(self, calls: Sequence[Call]) -> str:
        return "".join(
            f"{BEGIN}call:{call.name}{{{','.join(f'{key}:{_written(v)}' for key, v in call.arguments.items())}}}{END}"
            for call in calls
        )

    def rule(self, g: GrammarBuilder) -> str:
        one = g.rule("call", g.sequence(g.either(self._call_rule(g, tool) for tool in g.tools), g.text(END)))
        return g.calls(one, g.sequence(g.text(BEGIN), one))

    def _call_rule(self, g: GrammarBuilder, tool: OfferedTool) -> str:
        root = tool.parameters
        values = _Values(g, root)

        def one(key: str | Names, schema: Any) -> str:
            if isinstance(key, Names):
                return g.sequence(g.terminal(key.terminal), g.text(":"), g.json(schema, root))
            if tool.grammar is not None:
                return g.sequence(g.text(f"{key}:{QUOTE}"), g.custom_input(tool), g.text(QUOTE))
            return g.sequence(g.text(f"{key}:"), values.rule(schema))

        return g.either(
            g.sequence(g.text(f"call:{tool.name}{{"), listed(g, parameters, one, ","), g.text("}"))
            for parameters in Parameters.of_all(variants(root), root)
        )


def _read_key(calls: Calls, emit: Emit) -> Steps[bool]:
    source = calls.source
    if (yield from source.next_is(QUOTE)) is not None:
        found = yield from source.until(_QUOTE, emit)
        yield from source.space()
        return bool(found) and (yield from source.next_is(":")) is not None
    if (yield from source.peek()) == '"':
        quoted: list[str] = []
        if not (yield from source.json_value(quoted.append)):
            return False
        key = parse_json("".join(quoted))
        if not isinstance(key, str):
            return False
        emit(key)
        yield from source.space()
        return (yield from source.next_is(":")) is not None
    word = yield from source.word(Markers(":"))
    if word is None or not word[0].strip():
        return False
    emit(word[0].strip())
    return True


def _read_value(calls: Calls, emit: Emit, depth: int) -> Steps[bool]:
    """One value, passed on as JSON."""
    source = calls.source
    if (yield from source.next_is(QUOTE)) is not None:
        emit('"')
        if (yield from source.until(_QUOTE, lambda text: emit(dump(text)[1:-1]))) is None:
            return False
        emit('"')
        return True
    first = yield from source.peek()
    if first not in ("{", "["):
        return (yield from source.json_value(emit))
    if depth == 0:
        return False
    close = {"{": "}", "[": "]"}[first]
    yield from source.next_is(first)
    emit(first)
    several = False
    while True:
        yield from source.space()
        if (yield from source.next_is(close)) is not None:
            emit(close)
            return True
        if several:
            if (yield from source.next_is(",")) is None:
                return False
            emit(", ")
            yield from source.space()
        several = True
        if first == "{":
            key: list[str] = []
            if not (yield from _read_key(calls, key.append)):
                return False
            emit(dump("".join(key)) + ": ")
            yield from source.space()
        if not (yield from _read_value(calls, emit, depth - 1)):
            return False


def _written(value: Any) -> str:
    if isinstance(value, str):
        return f"{QUOTE}{value}{QUOTE}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return dump(value)


class _Values:
    """The rules for the values of one tool's parameters, one for each schema, however often it is referred to."""

    def __init__(self, g: GrammarBuilder, root: Mapping[str, Any]) -> None:
        self._g = g
        self._root = root
        self._parts = Parts(root)
        self._known: dict[
            int, tuple[Any, str]
        ] = {}  # by the schema's id; with the schema, so that the id stays its own

    def rule(self, schema: Any, depth: int = MAX_DEPTH // 8) -> str:
        """The family's own form where it can be held to the schema, else JSON. `depth`: of new rules inside rules."""
        g, root = self._g, self._root
        schema = resolve(schema, root)
        if value_form(schema, root) is ValueForm.TEXT:
            if choices := string_choices(schema, root):
                return g.sequence(g.text(QUOTE), g.either(map(g.text, choices)), g.text(QUOTE))
            return g.sequence(g.text(QUOTE), g.until(QUOTE))
        if not isinstance(schema, Mapping):
            return g.json(schema, root)
        if id(schema) in self._known:
            return self._known[id(schema)][1]
        keywords, kind = set(schema) - ANNOTATIONS, schema.get("type")
        if depth and keywords == {"items"} and kind == "array" and is_possible(schema["items"], self._parts):
            return self._own("items", schema, lambda: self._items(schema, depth - 1))
        plain = keywords <= {"properties", "required", "additionalProperties"} and _simple_names(schema)
        if depth and plain and kind == "object":
            return self._own("members", schema, lambda: self._members(schema, depth - 1))
        return g.json(schema, root)

    def _own(self, name: str, schema: Mapping[str, Any], expression: Callable[[], str]) -> str:
        def known_as(rule: str) -> str:
            self._known[id(schema)] = schema, rule
            return expression()

        return self._g.recursive(name, known_as)

    def _items(self, schema: Mapping[str, Any], depth: int) -> str:
        g = self._g
        item = g.rule("item", self.rule(schema["items"], depth))
        return g.sequence(
            g.text("["), g.optional(g.sequence(item, g.any_number(g.sequence(g.text(","), item)))), g.text("]")
        )

    def _members(self, schema: Mapping[str, Any], depth: int) -> str:
        """Members that nothing can be are left out: where one has to be there, so is what they are members of."""
        g = self._g
        members = [
            (
                g.rule("member", g.sequence(g.text(f"{key}:"), self.rule(inner, depth))),
                key in schema.get("required", ()),
            )
            for key, inner in schema["properties"].items()
            if is_possible(inner, self._parts)
        ]
        return g.sequence(g.text("{"), g.listed(members, ","), g.text("}"))


def _simple_names(schema: Mapping[str, Any]) -> bool:
    properties = schema.get("properties") or {}
    return (
        bool(properties)
        and set(schema.get("required", ())) <= set(properties)
        and all(map(str.isidentifier, properties))
    )


GEMMA4 = MarkedDialect(
    name="gemma-4",
    calls=Gemma4Calls(),
    think=("<|channel>thought", "<channel|>"),
    reasoning_end="\n<channel|>",
    variables=thinking_switch("enable_thinking", default=False),
    lone_preambles=False,  # the template joins messages of the model, and closes the turn between them
    stop_texts=("<|tool_response>", "<turn|>"),
)


def detect(template: str) -> MarkedDialect | None:
    return GEMMA4 if BEGIN in template and "<|channel>" in template else None
