"""Schemas that are short to write and long to look through: what is done with them stays in proportion."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import jsonschema
import pytest

from shared.grammar import check_parameters
from shared.schema.tools import FunctionTool
from tests.workers.dialects.samples import SAMPLES, Sample
from tests.workers.dialects.test_grammars import outputs
from tests.workers.dialects.walks import MARKERS, vocabulary
from workers.dialects.arguments import types_of, variants
from workers.dialects.base import Opening
from workers.dialects.calls import Call
from workers.dialects.marked import MarkedDialect
from workers.dialects.toolbox import Toolbox
from workers.grammar.grammars import Grammars, demand

T = TypeVar("T")
LAYERS = 14
GRAMMARS = Grammars(vocabulary(MARKERS))
EVERY = {sample.dialect.name: sample for sample in SAMPLES}
FAMILIES = {sample.dialect.name: sample.dialect for sample in SAMPLES if isinstance(sample.dialect, MarkedDialect)}


class TooMuchWork(Exception):
    pass


def within(most: int, do: Callable[[], T]) -> T:
    """What `do` returns. Raises TooMuchWork behind so many lines of Python, counted by the interpreter."""
    lines = 0

    def count(frame: object, event: str, argument: object) -> object:
        nonlocal lines
        lines += event == "line"
        if lines > most:
            raise TooMuchWork
        return count

    sys.settrace(count)  # type: ignore[arg-type]
    try:
        return do()
    finally:
        sys.settrace(None)


def layered(keyword: str, width: int, layers: int = LAYERS) -> dict[str, Any]:
    """Definitions that each name the next one several times, so that there are `width ** layers` ways down."""
    layer = {f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}] * width} for n in range(layers)}
    return {**layer, f"d{layers}": {"type": "object"}}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sure", [True, False])
def test_a_call_is_read_in_proportion_to_its_schema(family: str, sure: bool) -> None:
    parameters = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/d0"}},
        "required": ["a"],
        "$defs": layered("anyOf", 3),
    }
    dialect = FAMILIES[family]
    tools = Toolbox([FunctionTool(name="f", parameters=parameters)])
    output = dialect.calls.write([Call("f", {"a": 1})])

    def read() -> list[str]:
        parser = dialect.parser("", tools, sure=sure)
        return [piece.kind for piece in (*parser.feed(output), *parser.finish())]

    assert "call_end" in within(20_000, read)


def test_the_types_of_a_value_are_found_in_proportion_to_the_schema() -> None:
    root = {"$defs": layered("anyOf", 3)}
    assert within(5000, lambda: types_of({"$ref": "#/$defs/d0"}, root)) == {"object"}


def test_the_types_of_a_circle_are_not_looked_for_without_end() -> None:
    circle = {"anyOf": [{"$ref": "#/$defs/c"}, {"$ref": "#/$defs/c"}, {"type": "null"}]}
    assert "null" in within(2000, lambda: types_of({"$ref": "#/$defs/c"}, {"$defs": {"c": circle}}))


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_the_variants_of_parameters_are_found_in_proportion_to_the_schema(keyword: str) -> None:
    root = {"type": "object", "$ref": "#/$defs/d0", "$defs": layered(keyword, 8)}
    assert len(within(60_000, lambda: variants(root))) <= 16


def test_no_more_variants_are_made_than_are_kept() -> None:
    many = [{"properties": {f"p{n}": {}}} for n in range(2000)]
    root = {"type": "object", "allOf": [{"anyOf": many}, {"anyOf": many}]}
    assert len(within(60_000, lambda: variants(root))) == 16


def members_of(width: int, layers: int) -> dict[str, Any]:
    """Objects that each hold the next one several times; the last one holds itself."""
    following = [*range(1, layers), layers - 1]
    return {
        f"d{n}": {
            "type": "object",
            "properties": {f"p{i}": {"$ref": f"#/$defs/d{following[n]}"} for i in range(width)},
            "additionalProperties": False,
        }
        for n in range(layers)
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [1, 12])
def test_a_grammar_is_written_in_proportion_to_the_schema(family: str, layers: int) -> None:
    definitions = members_of(6, layers)
    parameters = {
        "type": "object",
        "properties": {
            "node": {"$ref": "#/$defs/d0"},
            "nodes": {"type": "array", "items": {"$ref": "#/$defs/d0"}},
        },
        "required": ["node"],
        "additionalProperties": False,
        "$defs": definitions,
    }
    asked = demand(Toolbox([FunctionTool(name="f", parameters=parameters)]), "required")
    grammar = within(100_000, lambda: GRAMMARS.grammar(FAMILIES[family], asked, Opening.ANSWER))
    assert len(grammar) < 100_000
    GRAMMARS.matcher(grammar)


IMPOSSIBLE_INSIDE = {
    "false": {"type": "object", "properties": {"a": {"type": "string"}, "n": False}, "required": ["a"]},
    "enum": {"type": "object", "properties": {"a": {"type": "string"}, "n": {"enum": []}}, "required": ["a"]},
    "items": {"type": "array", "items": False},
    "deep": {
        "type": "object",
        "properties": {"b": {"type": "array", "items": {"type": "object", "properties": {"n": False}}}},
    },
    "needed": {"type": "object", "properties": {"a": {"type": "string"}, "n": False}, "required": ["n"]},
    "all": {"type": "object", "properties": {"n": False}},
}


@pytest.mark.parametrize("sample", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("inner", IMPOSSIBLE_INSIDE.values(), ids=IMPOSSIBLE_INSIDE)
def test_what_is_impossible_inside_is_left_out(sample: Sample, inner: dict[str, Any]) -> None:
    """The front end takes these schemas, as there is a call by them."""
    schema = {"type": "object", "properties": {"o": inner, "s": {"type": "string"}}, "required": ["s"]}
    check_parameters(schema, strict=True)
    asked = demand(Toolbox([FunctionTool(name="f", parameters=schema)]), "required", parallel=False)
    read = 0
    for output, said, _ in outputs(sample, asked, "special", 6, 1):
        [arguments] = [item[2] for item in said if item[0] == "call"]
        jsonschema.validate(json.loads(arguments), schema)
        read += bool(output)
    assert read


LOOSE: list[dict[str, Any]] = [
    {"type": "object", "const": [1]},
    {"type": "object", "anyOf": [{"type": "null"}, {"type": "string"}]},
    {"allOf": [{"allOf": [{"minProperties": {}, "properties": {"a": {"$id": ""}}}]}]},
    {"allOf": [{"maxProperties": "x", "properties": {"a": {"$id": ""}}}]},
    {"minProperties": 1.0, "allOf": [{"minProperties": 2.0}]},
    *({"properties": {"o": inner}, "required": ["o"]} for inner in IMPOSSIBLE_INSIDE.values()),
]


@pytest.mark.parametrize("sample", EVERY.values(), ids=EVERY)
def test_a_tool_that_need_not_be_kept_spoils_no_other(sample: Sample) -> None:
    for schema in LOOSE:
        fine = FunctionTool(name="fine", parameters={"type": "object"})
        asked = demand(Toolbox([fine, FunctionTool(name="odd", parameters=schema, strict=False)]))
        assert GRAMMARS.matcher(GRAMMARS.grammar(sample.dialect, asked, sample.dialect.opening(sample.tail)))
