"""What a family's grammar generates is what its parser reads, and the arguments are what the tools ask for."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import jsonschema
import pytest

from shared.schema.tools import AllowedTools, CustomTool, FunctionChoice, FunctionTool, GrammarFormat
from tests.workers.dialects.samples import ISSUES, NOW, PATCH, SAMPLES, TOOLS, WEATHER, Sample, items
from tests.workers.dialects.walks import MARKERS, vocabulary, walk
from workers.dialects.base import Opening
from workers.dialects.toolbox import Toolbox
from workers.grammar.grammars import Demand, Grammars, demand

DIALECTS = list({(sample.dialect.name, sample.dialect.opening(sample.tail)): sample for sample in SAMPLES}.values())
FAMILIES = [pytest.param(sample, id=f"{sample.dialect.name} {sample.tail[-20:]!r}") for sample in DIALECTS]
GRAMMARS = {"special": Grammars(vocabulary(MARKERS)), "words": Grammars(vocabulary((), MARKERS))}

BOOKING = FunctionTool(
    name="book-it",
    description="Books.",
    parameters={
        "type": "object",
        "properties": {
            "when": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"},
            "class": {"type": "string", "enum": ["first class", "economy"]},
            "seats": {"type": "integer", "minimum": 1, "maximum": 9},
            "window": {"type": "boolean"},
            "note": {"type": ["string", "null"]},
            "mixed": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "who": {"$ref": "#/$defs/person"},
            "legs": {
                "type": "array",
                "items": {"type": "array", "items": {"type": "number"}, "maxItems": 2},
                "maxItems": 2,
            },
        },
        "required": ["when", "class", "window", "who"],
        "additionalProperties": False,
        "$defs": {
            "person": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 5},
                    "friend": {"anyOf": [{"$ref": "#/$defs/person"}, {"type": "null"}]},
                },
                "required": ["name", "friend"],
                "additionalProperties": False,
            }
        },
    },
)
FREE = FunctionTool(name="free", parameters={"type": "object"})
SHAPE = CustomTool(name="shape", format=GrammarFormat(syntax="regex", definition=r'[a-c]{2,4}(\n"\\|/)x'))
EDIT = CustomTool(
    name="edit",
    format=GrammarFormat(
        syntax="lark",
        definition=r"""
            start: begin line+ end
            begin: "*** \"Begin\"" LF
            line: "+" /[^\n<]{0,9}/ LF
            end: "*** End" LF?
            %import common.LF
        """,
    ),
)
EDIT_TEXT = re.compile(r'\*\*\* "Begin"\n(\+[^\n<]{0,9}\n)+\*\*\* End\n?')

NODE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
    "required": ["name", "next"],
    "additionalProperties": False,
}
CHAIN = FunctionTool(name="chain", parameters={"$ref": "#/$defs/node", "$defs": {"node": NODE}})
SHAPES = FunctionTool(
    name="shapes",
    parameters={
        "type": "object",
        "anyOf": [
            {"properties": {"kind": {"const": "dot"}}, "required": ["kind"], "additionalProperties": False},
            {
                "properties": {"kind": {"const": "line"}, "size": {"type": "integer"}},
                "required": ["kind", "size"],
                "additionalProperties": False,
            },
        ],
    },
)

COMMON = FunctionTool(
    name="common",
    parameters={
        "type": "object",
        "properties": {"kind": {"type": "string"}, "size": {"type": "integer", "minimum": 5}, "any": True},
        "required": ["kind", "other"],
        "anyOf": [
            {"properties": {"kind": {"const": "dot"}, "other": {"type": "boolean"}}},
            {"properties": {"kind": {"enum": ["line", "arc"]}, "size": {"maximum": 7}}, "required": ["size"]},
            {"properties": {"kind": False}},
        ],
    },
)
VALUES = FunctionTool(name="values", parameters={"type": "object", "enum": [{"a": 1}, {"b": "x", "c": [2]}]})
ODD_NAMES = ("a>b", "a:b", "c,d", "e=f", "", "</parameter>", 'q"', "line\nbreak", "größe", "@type", "$ref", "<|", "{x}")
ODD = FunctionTool(
    name="odd",
    parameters={
        "type": "object",
        "properties": {name: {"type": ("string", "integer")[n % 2]} for n, name in enumerate(ODD_NAMES)},
        "required": list(ODD_NAMES[:6]),
        "additionalProperties": False,
    },
)
COUNTED = FunctionTool(
    name="counted",
    parameters={"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 2},
)

TOOLSETS = {
    "one tool": Toolbox([WEATHER]),
    "three tools": Toolbox([WEATHER, NOW, ISSUES]),
    "a rich schema": Toolbox([BOOKING]),
    "free arguments": Toolbox([FREE]),
    "a reference": Toolbox([CHAIN]),
    "a choice of shapes": Toolbox([SHAPES]),
    "properties said twice": Toolbox([COMMON]),
    "whole values": Toolbox([VALUES]),
    "odd names": Toolbox([ODD]),
    "so many properties": Toolbox([COUNTED]),
    "custom": Toolbox([PATCH, NOW]),
    "custom by regex": Toolbox([SHAPE]),
    "custom by lark": Toolbox([EDIT]),
}


def outputs(sample: Sample, demanded: Demand, known: str, walks: int, seed: int = 0) -> list[tuple[str, Any, Any]]:
    """Walked outputs, each with what the parser makes of it when it is sure and when it is not."""
    grammars = GRAMMARS[known]
    read: list[tuple[str, Any, Any]] = []
    for number in range(4 * walks):  # some grow too long
        if len(read) == walks:
            break
        constraint = grammars.constraint(sample.dialect, demanded, sample.tail)
        assert constraint is not None
        output = walk(constraint, grammars.vocabulary, random.Random(seed * 1000 + number))
        if output is None:
            continue
        sure = sample.dialect.parser(sample.tail, demanded.tools, sure=True)
        unsure = sample.dialect.parser(sample.tail, demanded.tools)
        said = items([piece for char in output for piece in sure.feed(char)] + sure.finish())
        checked = items(unsure.feed(output) + unsure.finish())
        read.append((output, said, checked))
    return read


def check(call: tuple[str, ...], tools: Toolbox) -> None:
    kind, name, arguments = call
    assert kind == "call"
    tool = tools.get(name)
    assert tool is not None
    if not tool.custom:
        jsonschema.validate(json.loads(arguments), tool.parameters)
    elif tool.name == "shape":
        assert re.fullmatch(r'[a-c]{2,4}(\n"\\|/)x', arguments)
    elif tool.name == "edit":
        assert EDIT_TEXT.fullmatch(arguments)


@pytest.mark.parametrize(
    ("known", "toolset"),
    [
        *(pytest.param("special", toolset, id=name) for name, toolset in TOOLSETS.items()),
        pytest.param("words", TOOLSETS["three tools"], id="three tools, markers in words"),
    ],
)
@pytest.mark.parametrize("sample", FAMILIES)
def test_required_calls_are_read_and_valid(sample: Sample, toolset: Toolbox, known: str) -> None:
    read = outputs(sample, demand(toolset, "required"), known, 3)
    for output, said, checked in read:
        calls = [item for item in said if item[0] not in ("reasoning", "commentary")]
        assert calls, output
        for call in calls:
            check(call, toolset)
        if known == "special":  # else random words may spell markers where no grammar looks for them
            assert [meaning(item, toolset) for item in checked] == [meaning(item, toolset) for item in said]
    assert read or known == "words"


def meaning(item: tuple[str, ...], tools: Toolbox) -> tuple[Any, ...]:
    """What an item says, however its JSON is written."""
    if item[0] != "call" or (tool := tools.get(item[1])) is None or tool.custom:
        return item
    return (*item[:2], json.loads(item[2]))


@pytest.mark.parametrize("sample", FAMILIES)
def test_one_call_where_parallel_ones_are_not_wanted(sample: Sample) -> None:
    for output, said, _ in outputs(sample, demand(TOOLSETS["three tools"], "required", parallel=False), "special", 4):
        assert len([item for item in said if item[0] == "call"]) == 1, output


@pytest.mark.parametrize("sample", FAMILIES)
def test_no_more_calls_than_allowed(sample: Sample) -> None:
    for output, said, _ in outputs(sample, demand(Toolbox([NOW]), "required", max_calls=2), "special", 5):
        assert len([item for item in said if item[0] == "call"]) <= 2, output


@pytest.mark.parametrize("sample", FAMILIES)
def test_a_named_tool_is_the_one_that_is_called(sample: Sample) -> None:
    demanded = demand(TOOLS, FunctionChoice(name="get_weather"))
    for _, said, _ in outputs(sample, demanded, "special", 4):
        assert {item[1] for item in said if item[0] == "call"} == {"get_weather"}


@pytest.mark.parametrize("sample", FAMILIES)
def test_only_allowed_tools_are_called(sample: Sample) -> None:
    choice = AllowedTools(
        mode="required", tools=[{"type": "function", "name": "now"}, {"type": "custom", "name": "apply_patch"}]
    )
    for _, said, _ in outputs(sample, demand(TOOLS, choice), "special", 4):
        assert {item[1] for item in said if item[0] == "call"} <= {"now", "apply_patch"}


@pytest.mark.parametrize("known", GRAMMARS)
@pytest.mark.parametrize("sample", FAMILIES)
def test_free_text_or_calls_when_the_model_may_choose(sample: Sample, known: str) -> None:
    for output, said, _ in outputs(sample, demand(TOOLSETS["three tools"]), known, 6):
        for item in said:
            assert item[0] != "cut", output
            if item[0] == "call":
                check(item, TOOLSETS["three tools"])


@pytest.mark.parametrize("sample", FAMILIES)
def test_a_recorded_output_is_allowed_by_the_grammar(sample: Sample) -> None:
    """The model's own way to write things is inside the grammar, not only what the grammar would force."""
    grammars = GRAMMARS["special"]
    for other in SAMPLES:
        if other.dialect.name != sample.dialect.name or other.tail != sample.tail:
            continue
        if other.what not in ("plain", "one_call", "call_after_preamble", "reasoning"):
            continue
        constraint = grammars.constraint(other.dialect, demand(TOOLS), other.tail)
        assert constraint is not None
        output = other.output.removesuffix("<|call|>").removesuffix("<|return|>")
        for token in grammars.vocabulary.tokenize(output):
            constraint.accept(token)


SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "list": {"type": "array", "items": {"enum": [1, "a"]}, "maxItems": 3}},
    "required": ["ok", "list"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("sample", FAMILIES)
def test_an_answer_by_a_schema(sample: Sample) -> None:
    for output, said, _ in outputs(sample, demand(Toolbox(), format=SCHEMA), "special", 4):
        words = "".join(item[1] for item in said if item[0] == "text")
        jsonschema.validate(json.loads(words), SCHEMA)
        assert {item[0] for item in said} <= {"text", "reasoning"}, output


@pytest.mark.parametrize("sample", FAMILIES)
def test_reasoning_comes_first_where_the_prompt_has_opened_it(sample: Sample) -> None:
    if sample.dialect.opening(sample.tail) is not Opening.REASONING:
        return
    grammars = GRAMMARS["special"]
    constraint = grammars.constraint(sample.dialect, demand(Toolbox(), format=SCHEMA), sample.tail)
    assert constraint is not None
    for token in grammars.vocabulary.tokenize(
        "I think it is true." + sample.dialect.reasoning_end + '{"ok": true, "list": []}'
    ):
        constraint.accept(token)
    assert constraint.finished or not constraint.forced_tokens()
