"""What a family's way to write calls has to offer, and the ways that several families share.

Each format reads, writes and constrains calls from the same few markers, so that what its grammar generates is exactly
what it reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from workers.dialects.arguments import (
    NamedArguments,
    ValueForm,
    dump,
    property_schema,
    string_choices,
    value_form,
    variants,
)
from workers.dialects.json_calls import read_list, read_object
from workers.dialects.parser import Calls
from workers.dialects.stream import Markers, Steps
from workers.dialects.toolbox import OfferedTool, Toolbox

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


FREE_NAME = "/[A-Za-z_][A-Za-z0-9_]{0,63}/"
"""A parameter that no schema names."""

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
        return g.either(self._variant_rule(g, tool, variant) for variant in variants(tool.parameters))

    def _variant_rule(self, g: GrammarBuilder, tool: OfferedTool, variant: Mapping[str, Any]) -> str:
        parameters = []
        for key, schema, required in parameters_of(variant):
            rule = g.rule("parameter", self._parameter_rule(g, tool, key, schema))
            if key is None:
                parameters.append(g.counted(rule, *counts_of(variant)))
            else:
                parameters.append(rule if required else g.optional(rule))
        return g.sequence(g.text(self._head(tool.name)), *parameters, g.text(self._tail))

    def _parameter_rule(self, g: GrammarBuilder, tool: OfferedTool, key: str | None, schema: Any) -> str:
        root = tool.parameters
        form = value_form(schema if key is None else property_schema(variants(root), key), root)
        bare = form is not ValueForm.JSON
        if key is None:
            name = g.sequence(g.text(self.key), g.terminal(FREE_NAME))
            begin = g.sequence(name, g.text(self._key("", bare).removeprefix(self.key) + self.pad))
        else:
            begin = g.text(self._key(key, bare) + self.pad)
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
    odd = {name + end: (name, end) for name in arguments.odd_keys for end in ends.texts}
    if odd and (found := (yield from calls.source.next_is(*odd))) is not None:
        return odd[found]
    key = yield from calls.source.word(ends)
    return (key[0].strip(), key[1]) if key else None


def counts_of(schema: Mapping[str, Any]) -> tuple[int, int | None]:
    """How many parameters there are at least, and at most."""
    return schema.get("minProperties", 0), schema.get("maxProperties")


def listed_freely(g: GrammarBuilder, one: str, separator: str, schema: Mapping[str, Any]) -> str:
    """Parameters of any name with separators between them, as many as the schema wants."""
    least, most = counts_of(schema)
    if most == 0:
        return ""
    one = g.rule("parameter", one)
    more = g.counted(g.sequence(g.text(separator), one), max(least - 1, 0), None if most is None else most - 1)
    return g.sequence(one, more) if least else g.optional(g.sequence(one, more))


def parameters_of(schema: Mapping[str, Any]) -> Iterator[tuple[str | None, Any, bool]]:
    """Name, schema and whether it is required, of each parameter; without a name for any number of free ones."""
    properties = dict(schema.get("properties") or {})
    required = schema.get("required") or []
    others = schema.get("additionalProperties", True)
    for key in required:
        properties.setdefault(key, others)
    for key, value in properties.items():
        if value is not False:
            yield key, value, key in required
    if not properties and others is not False:
        yield None, others, False
