"""Schemas as servers send them, before the templates of all families: no one tool may end a prompt."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shared.schema.tools import FunctionTool
from workers.dialects import detect
from workers.dialects.base import Dialect
from workers.dialects.readable import readable
from workers.dialects.toolbox import Toolbox
from workers.probe import Traits, probe
from workers.template import ChatTemplate

TEMPLATES = sorted((Path(__file__).parent / "templates").glob("*.jinja"))
HERMES = next(path for path in TEMPLATES if "Hermes-3" in path.name)
TEXT = {"type": "string"}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


GOOD = [
    of(),
    {**of(a={**TEXT, "description": "A."}), "required": ["a"], "additionalProperties": False},
    of(a={"type": ["string", "null"], "default": None}, b={"type": ["array", "null"], "items": {"type": "integer"}}),
    of(a={"anyOf": [TEXT, {"type": "null"}], "default": None, "title": "A"}),
    of(a={"oneOf": [{**TEXT, "enum": ["x"]}, of(z={"type": "integer"})]}),
    of(a={"enum": [1, None, "x", {"type": 5}]}, b={"const": None}, c={**TEXT, "default": {"required": 5}}),
    of(type=TEXT, properties=TEXT, items=TEXT, required={"type": "boolean"}, description=TEXT, enum=TEXT),
    {**of(a={"$ref": "#/$defs/A"}), "$defs": {"A": of(next={"$ref": "#/$defs/A"})}},
    of(a={"type": "array", "items": True}, b=True, c={}, d={"type": "object", "additionalProperties": TEXT}),
    {**of(a=TEXT), "x-own": {"required": True, "type": 5}},
]
ODD = [
    {"type": "array"},
    {"type": ["object", "null"], "properties": None},
    {"properties": 5, "$defs": 5},
    of(a=5, b=None, c=["x"]),
    *({**of(a=TEXT), "required": required} for required in (None, 5, "a", True, [5, None, "a"])),
    *(of(o={**of(a=TEXT), "required": required}) for required in (None, True, 5)),
    *({**of(a={**TEXT, "description": said}), "description": said} for said in (5, None, ["a", "b"], {"en": "A"})),
    of(a={"type": 5}, b={"type": None}, c={"type": [5, None]}, d={"type": []}),
    of(a={"type": "null"}, b={"type": "any"}, c={"type": ["null"]}, d={"type": ["any", "null"]}),
    of(a={"type": ["object", "null"], "properties": {"b": {"type": ["string", "null"]}}, "required": None}),
    of(a={"type": "object", "additionalProperties": {"type": ["string", "null"]}}),
    of(a={"enum": 5, "anyOf": None, "oneOf": "x", "allOf": 5, "items": None, "title": 5, "format": 7, "examples": 5}),
    of(a={**TEXT, "enum": ["x", None]}, b={"type": "array", "items": [TEXT, 5]}),
]


@cache
def family(path: Path) -> tuple[ChatTemplate, Dialect, Traits]:
    source = path.read_text()
    template, dialect = ChatTemplate(source), detect(source)
    return template, dialect, probe(template, dialect.template_variables(None))


def shown(path: Path, schema: dict[str, Any], *, to_the_letter: bool = False) -> str:
    """What a template makes of a conversation with a tool."""
    template, dialect, traits = family(path)
    tools = Toolbox([FunctionTool(name="look", description="Looks.", parameters=schema, strict=False)])
    prepared, offered = dialect.prepare([{"role": "user", "content": "Go"}], tools, traits)
    if offered and to_the_letter:
        offered[0]["function"]["parameters"] = schema
    return template.render(prepared, {**dialect.template_variables(None), "tools": offered})


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_no_schema_ends_a_prompt(path: Path) -> None:
    for schema in ODD:
        assert "look" in shown(path, schema), schema


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_what_a_template_can_read_is_read_to_the_letter(path: Path) -> None:
    for schema in GOOD:
        if path != HERMES or schema is not GOOD[2]:
            assert shown(path, schema) == shown(path, schema, to_the_letter=True), schema


def test_a_good_schema_stays_as_it_is() -> None:
    for schema in GOOD:
        assert readable(schema) == schema
        assert list(readable(schema)) == list(schema)  # the model reads them in the server's order


def test_types_that_a_template_cannot_read_are_said_in_other_words() -> None:
    """Hermes 3 takes the name of an unknown type apart for ever."""
    text = shown(HERMES, GOOD[2])
    assert '"anyOf": [{"type": "string"}, {"type": "null"}], "default": null' in text
    assert '"items": {"type": "integer"}' in text
    assert shown(HERMES, GOOD[3]) == shown(HERMES, GOOD[3], to_the_letter=True)
    odd = {"both": {"type": ["string", "null"], "anyOf": [TEXT]}, "none": {"type": "null"}, "one": {"type": ["string"]}}
    assert readable(of(**odd), type_lists=False) == of(both={"anyOf": [TEXT]}, none={"const": None}, one=TEXT)


def test_what_is_odd_is_left_out_or_becomes_text() -> None:
    assert readable({**of(a=TEXT), "required": [5, "a"]}) == {**of(a=TEXT), "required": ["a"]}
    assert readable({**of(a={**TEXT, "description": ["é"]}), "required": None}) == of(
        a={**TEXT, "description": '["é"]'}
    )
    assert readable({"type": ["object", "null"], "properties": None}) == of()


def test_a_schema_is_shown_down_to_a_depth() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = of(a=deep)
    assert str(readable(deep)).count("properties") < 100
