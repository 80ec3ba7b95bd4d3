"""What a family's way to write calls has to offer, and the ways that several families share.

Each format reads, writes and constrains calls from the same few markers, so that what its grammar generates is exactly
what it reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from workers.dialects.arguments import (
    ANNOTATIONS,
    NamedArguments,
    ValueForm,
    dump,
    form_of,
    form_of_unlisted,
    string_choices,
    variants,
)
from workers.dialects.json_calls import read_list, read_object
from workers.dialects.parser import Calls
from workers.dialects.stream import Markers, Steps
from workers.dialects.toolbox import OfferedTool, Toolbox
from workers.grammar.names import unlisted
from workers.grammar.parts import Parts

if TYPE_CHECKING:
    from workers.grammar.builder import GrammarBuilder


class Call(NamedTuple):
    """A call of the conversation so far."""

    name: str
    arguments: dict[str, Any]


class CallFormat(Protocol):
    """How a family writes calls."""

    @property
    def triggers(self) -> tuple[str, ...]:
        """What begins one or more calls."""

    def read(self, calls: Calls, trigger: str) -> Steps[bool]:
        """Reads what follows a trigger; False where the format is broken. Calls that were ended before are kept."""

    def write(self, calls: Sequence[Call]) -> str:
        """Calls as the model would write them, for templates that do not."""

    def rule(self, g: GrammarBuilder) -> str:
        """Lark expression for what follows the first trigger: one or more calls, as many as the request allows."""


INSTRUCTIONS = """\
# Tools

You may call one or more functions to assist with the user query. Do not make up functions or their results.

You are provided with function signatures as JSON:
<tools>
{tools}
</tools>

To call functions, end your answer with the calls in exactly this form:
{example}"""


def declare(form: CallFormat, tools: Toolbox) -> str:
    """Tells a model of its tools where the template does not: a part of the system prompt."""
    signatures = "\n".join(map(dump, tools.for_template()))
    example = form.write([Call("function-name", {"argument-name": "value"})])
    return INSTRUCTIONS.format(tools=signatures, example=example.strip("\n"))


@dataclass(frozen=True)
class TaggedJson:
    """One JSON object in a pair of tags for each call: Hermes 2/3, Qwen 2.5/3, Granite 4, and prompted models.

    <tool_call>
    {"name": "N", "arguments": {...}}
    </tool_call>
    """

    begin: str = "<tool_call>"
    end: str = "</tool_call>"
    arguments_key: str = "arguments"

    @property
    def triggers(self) -> tuple[str, ...]:
        return (self.begin,)

    def read(self, calls: Calls, trigger: str) -> Steps[bool]:
        yield from calls.source.space()
        if not (yield from read_object(calls, "name", self.arguments_key)):
            return False
        yield from calls.source.space()
        yield from calls.source.next_is(self.end)  # a call without its end is complete too
        return True

    def write(self, calls: Sequence[Call]) -> str:
        return "\n".join(f"{self.begin}\n{self._object(call)}\n{self.end}" for call in calls)

    def rule(self, g: GrammarBuilder) -> str:
        one = g.rule("call", g.sequence(g.text("\n"), json_objects(g, self.arguments_key), g.text(f"\n{self.end}")))
        return g.calls(one, g.sequence(g.text(f"\n{self.begin}"), one))

    def _object(self, call: Call) -> str:
        return f'{{"name": {dump(call.name)}, "{self.arguments_key}": {dump(call.arguments)}}}'


@dataclass(frozen=True)
class JsonList:
    """All calls as one JSON list: Mistral Nemo, Granite 3.3, Command R."""

    begin: str
    end: str = ""
    name_key: str = "name"
    arguments_key: str = "arguments"
    id_key: str | None = None
    id_first: bool = False
    space: str = ""  # between the brackets of the list and its objects

    @property
    def triggers(self) -> tuple[str, ...]:
        return (self.begin,)

    def read(self, calls: Calls, trigger: str) -> Steps[bool]:
        yield from calls.source.space()
        if (yield from calls.source.next_is("[")) is None:
            return False
        if not (yield from read_list(calls, self.name_key, self.arguments_key)):
            return False
        if self.end:
            yield from calls.source.space()
            yield from calls.source.next_is(self.end)
        return True

    def write(self, calls: Sequence[Call]) -> str:
        objects = ", ".join(
            f'{{"{self.name_key}": {dump(call.name)}, "{self.arguments_key}": {dump(call.arguments)}}}'
            for call in calls
        )
        return f"{self.begin}[{objects}]{self.end}"

    def rule(self, g: GrammarBuilder) -> str:
        before = g.sequence(g.text(f'"{self.id_key}": '), g.terminal('/"[0-9]{1,2}"/'), g.text(", "))
        after = g.sequence(g.text(f', "{self.id_key}": '), g.terminal('/"[A-Za-z0-9]{9}"/'))
        one = g.rule(
            "call",
            json_objects(
                g,
                self.arguments_key,
                name_key=self.name_key,
                before=before if self.id_key and self.id_first else "",
                after=after if self.id_key and not self.id_first else "",
            ),
        )
        space = g.terminal(f"/{self.space}/") if self.space else ""
        return g.sequence(
            g.text("["), space, g.calls(one, g.sequence(g.text(","), space or g.text(" "), one)), space,
            g.text(f"]{self.end}"),
        )  # fmt: skip


def json_objects(
    g: GrammarBuilder, arguments_key: str, *, name_key: str = "name", before: str = "", after: str = ""
) -> str:
    """`{"name": "N", "arguments": {...}}` for any of the tools. `before` and `after`: other members of the object."""
    return g.either(
        g.sequence(
            g.text("{"), before, g.text(f'"{name_key}": {dump(tool.name)}, "{arguments_key}": '), g.arguments(tool),
            after, g.text("}"),
        )
        for tool in g.tools
    )  # fmt: skip


@dataclass(frozen=True)
class XmlParameters:
    """Each parameter between markers of its own, strings bare: Qwen3-Coder, GLM, MiniMax, Seed-OSS.

    <tool_call>
    <function=N>
    <parameter=K>
    VALUE
    </parameter>
    </function>
    </tool_call>
    """

    begin: str
    call: str  # before the name; "" where it follows `begin`
    name_end: str  # "" where the name ends with its line or with the first parameter
    key: str
    key_end: str
    value: str  # before the value, where there is another marker than `key_end`
    value_end: str
    call_end: str  # "" where `end` ends the call
    end: str
    repeated: bool  # one call for each `begin`; else several may follow it
    line: str = "\n"  # between markers
    pad: str = ""  # round a value

    @property
    def triggers(self) -> tuple[str, ...]:
        return (self.begin,)

    def read(self, calls: Calls, trigger: str) -> Steps[bool]:
        source = calls.source
        while True:
            yield from source.space()
            if self.call and (yield from source.next_is(self.call)) is None:
                return False
            if not (yield from self._read_call(calls)):
                return False
            if not self.call_end:
                return True
            yield from source.space()
            ended = yield from source.next_is(self.end)
            if ended or self.repeated or (yield from source.peek()) == "":
                return True

    def _read_call(self, calls: Calls) -> Steps[bool]:
        source = calls.source
        call_end = self.call_end or self.end
        name = yield from source.word(Markers(self.name_end) if self.name_end else Markers("\n", self.key, call_end))
        arguments = calls.named(name[0].strip()) if name else None
        if name is None or arguments is None:
            return False
        marker: str | None = name[1] if name[1] in (self.key, call_end) else None
        while True:
            if marker is None:
                yield from source.space()
                marker = yield from source.next_is(self.key, call_end)
            if marker == call_end:
                calls.end()
                return True
            if marker is None or not (yield from self._read_parameter(calls, arguments)):
                return False
            marker = None

    def _read_parameter(self, calls: Calls, arguments: NamedArguments) -> Steps[bool]:
        source = calls.source
        key = yield from read_key(calls, arguments, self._key_ends())
        if key is None:
            return False
        if self.value:
            yield from source.space()
            if (yield from source.next_is(self.value)) is None:
                return False
        ends = Markers(self.value_end)
        if self.pad:
            ends = Markers(self.pad + self.value_end, self.value_end)
            yield from source.next_is(self.pad)
        arguments.begin(key[0], form=self._form(key[1]))
        quoted = arguments.form is ValueForm.JSON and (yield from source.peek()) in ('"', "{", "[")
        if quoted and not (yield from source.json_value(arguments.feed)):  # it may hold markers that end nothing
            return False
        if (yield from source.until(ends, arguments.feed)) is None:
            return False
        arguments.end()
        return True

    def _key_ends(self) -> Markers:
        return Markers(self.key_end)

    def _form(self, key_end: str) -> ValueForm | None:
        """What the format itself says of a value."""
        return None

    def write(self, calls: Sequence[Call]) -> str:
        written = [
            self._head(call.name) + "".join(self._parameter(*pair) for pair in call.arguments.items()) + self._tail
            for call in calls
        ]
        if self.repeated:
            return "\n".join(f"{self.begin}{one}{self.end}" for one in written)
        return f"{self.begin}{''.join(written)}{self.line}{self.end}"

    def _head(self, name: str) -> str:
        return f"{self.line if self.call else ''}{self.call}{name}{self.name_end}{self.line}"

    @property
    def _tail(self) -> str:
        return self.call_end + (self.line if self.repeated and self.call_end else "")

    def _parameter(self, key: str, value: Any) -> str:
        text = value if isinstance(value, str) else dump(value)
        return f"{self._key(key, isinstance(value, str))}{self.pad}{text}{self.pad}{self.value_end}{self.line}"

    def _key(self, key: str, text: bool) -> str:
        """Everything before a value; `text`: the value is a bare string."""
        return f"{self.key}{key}{self.key_end}{self.line + self.value if self.value else ''}"

    def rule(self, g: GrammarBuilder) -> str:
        one = g.rule("call", g.either(self._call_rule(g, tool) for tool in g.tools))
        if self.repeated:
            one = g.sequence(one, g.text(self.end))
            return g.calls(one, g.sequence(g.text("\n" + self.begin), one))
        return g.sequence(g.calls(one, one), g.text(self.line + self.end))

    def _call_rule(self, g: GrammarBuilder, tool: OfferedTool) -> str:
        root = tool.parameters
        every = variants(root)

        def one(key: str | Names, schema: Any) -> str:
            return self._parameter_rule(g, tool, root, every, key, schema)

        return g.either(
            g.sequence(g.text(self._head(tool.name)), listed(g, parameters, one), g.text(self._tail))
            for parameters in Parameters.of_all(every, root)
        )

    def _parameter_rule(
        self,
        g: GrammarBuilder,
        tool: OfferedTool,
        root: Mapping[str, Any],
        every: Sequence[Mapping[str, Any]],
        key: str | Names,
        schema: Any,
    ) -> str:
        if isinstance(key, Names):
            form = form_of_unlisted(schema, every, root)
            name = g.sequence(g.text(self.key), g.terminal(key.terminal))
            written = self._key("", form is not ValueForm.JSON).removeprefix(self.key)
            begin = g.sequence(name, g.text(written + self.pad))
        else:
            form = form_of(key, every, root)
            begin = g.text(self._key(key, form is not ValueForm.JSON) + self.pad)
        if tool.custom and (custom := g.custom_input(tool)):
            return g.sequence(begin, custom, g.text(self.pad + self.value_end + self.line))
        if form is ValueForm.JSON:
            return g.sequence(begin, g.json(schema, root), g.text(self.pad + self.value_end + self.line))
        if form is ValueForm.TEXT and (choices := string_choices(schema, root)):
            chosen = g.either(g.text(choice) for choice in choices)
            return g.sequence(begin, chosen, g.text(self.pad + self.value_end + self.line))
        return g.sequence(begin, g.until(self.value_end), g.text(self.line))


def read_key(calls: Calls, arguments: NamedArguments, ends: Markers) -> Steps[tuple[str, str] | None]:
    """A parameter's name and the marker behind it; a name that holds such a marker itself is known by the schema."""
    if (odd := (yield from odd_key(calls, arguments, ends))) is not None:
        return odd
    key = yield from calls.source.word(ends)
    return (key[0].strip(), key[1]) if key else None


def odd_key(calls: Calls, arguments: NamedArguments, ends: Markers) -> Steps[tuple[str, str] | None]:
    """The name that comes next and the marker behind it, where the name is one that could be mistaken."""
    odd = {name + end: (name, end) for name in arguments.odd_keys for end in ends.texts}
    found = (yield from calls.source.next_is(*odd)) if odd else None
    return odd[found] if found is not None else None


@dataclass(frozen=True)
class Names:
    """Names of parameters that a schema does not list."""

    terminal: str  # as a grammar writes it


@dataclass(frozen=True)
class Parameters:
    """What a call may be given by one variant of a tool's parameters, in order."""

    listed: list[tuple[str, Any, bool]]  # name, schema, and whether it is required
    others: list[tuple[Names, Any]]  # where none is listed, or too few of them
    least: int
    most: int | None
    possible: bool

    @classmethod
    def of_all(cls, every: Sequence[Mapping[str, Any]], root: Mapping[str, Any]) -> list[Parameters]:
        """Of all variants of a tool's parameters. What nothing can fulfil is left out: a parameter, or a variant that
        needs it; but for a tool that cannot be called at all."""
        found: list[Parameters] = []
        parts = Parts(root)
        for variant in every:
            properties = {key: schema for key, schema in variant["properties"].items() if is_possible(schema, parts)}
            found.append(cls._of(variant, properties, every, parts))
        return [one for one in found if one.possible] or found

    @classmethod
    def _of(
        cls,
        variant: Mapping[str, Any],
        properties: Mapping[str, Any],
        every: Sequence[Mapping[str, Any]],
        parts: Parts,
    ) -> Parameters:
        """`properties`: those that are possible; `every`: all variants, whose names no other parameter can have."""
        required = set(variant.get("required") or ())
        least, most = variant.get("minProperties", 0), variant.get("maxProperties")
        others: list[tuple[Names, Any]] = []
        if not variant["properties"] or least > len(properties):
            taken = {key for one in every for key in one["properties"]}
            others = [
                (Names(terminal), schema) for terminal, schema in unlisted(variant, taken) if is_possible(schema, parts)
            ]
        must = required if least <= len(properties) else set(properties)
        needed = max(least, len(required)) if required <= set(properties) else math.inf
        possible = needed <= (math.inf if others else len(properties)) and (most is None or needed <= most)
        return cls([(key, schema, key in must) for key, schema in properties.items()], others, least, most, possible)


def is_possible(schema: Any, parts: Parts) -> bool:
    """Whether anything is by a schema; for one that says little more than a type that is clear."""
    if not isinstance(schema, Mapping):
        return schema is not False
    return set(schema) <= ANNOTATIONS or parts.may_be(schema)


def listed(
    g: GrammarBuilder,
    parameters: Parameters,
    one: Callable[[str | Names, Any], str],
    separator: str = "",
) -> str:
    """A call's parameters, with separators between them. `one`: the rule of one of them, by its name and schema."""
    members = [(g.rule("parameter", one(key, schema)), required) for key, schema, required in parameters.listed]
    least, most = parameters.least, parameters.most
    if not parameters.others:
        return g.listed(members, separator, least=least, most=most)
    free = g.rule("parameter", g.either(one(names, schema) for names, schema in parameters.others))
    before = g.listed(members, separator, least=len(members), most=most)
    after = _freely(g, free, separator, max(least - len(members), 0), None if most is None else most - len(members))
    return g.sequence(before, g.text(separator) if before and after else "", after)


def _freely(g: GrammarBuilder, one: str, separator: str, least: int, most: int | None) -> str:
    """So many of one thing, with separators between them."""
    if most is not None and most <= 0:
        return ""
    another = g.sequence(g.text(separator), one)
    more = "" if most == 1 else g.counted(another, max(least - 1, 0), None if most is None else most - 1)
    return g.sequence(one, more) if least else g.optional(g.sequence(one, more))
