"""What the front end refuses: schemas and grammars that no output can be held to, with the place, soon and cheaply."""

from __future__ import annotations

import time
from typing import Any

import pytest

from shared.grammar import Unsupported, check_grammar, check_parameters, check_schema, lark_tokens, loosened

OBJECT = {"type": "object"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False},
        {"$defs": {"t": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/t"}]}}, "$ref": "#/$defs/t"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"type": "array", "items": {"$ref": "#"}}}, "$ref": "#/$defs/a"},
        {**OBJECT, "properties": {"n": {"$ref": "#"}}},
        {"properties": {"n": {"$ref": "#"}}, "required": ["n"]},
        {"type": "object", "properties": {"when": {"type": "string", "format": "date-time"}}},
        {"type": "object", "properties": {"n": {"type": "number", "minimum": 0, "exclusiveMaximum": 10}}},
        {"type": "array", "items": {"enum": [1, "a", None]}, "minItems": 1, "maxItems": 4},
        {"type": "object", "properties": {"id": {"type": "string", "pattern": "^[a-z]{3}$", "maxLength": 3}}},
        {},
    ],
)
def test_schemas_that_can_be_kept_are_taken(schema: dict[str, Any]) -> None:
    check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "path", "word"),
    [
        ({**OBJECT, "properties": {"a": {"not": {"type": "string"}}}}, "properties.a.not", "not"),
        (
            {**OBJECT, "properties": {"a": {"type": "array", "uniqueItems": True}}},
            "properties.a.uniqueItems",
            "uniqueItems",
        ),
        ({**OBJECT, "properties": {"a": {"type": "string", "format": "foo"}}}, "properties.a.format", "foo"),
        (
            {**OBJECT, "properties": {"a": {"type": "string", "pattern": "(?=a)b"}}},
            "properties.a.pattern",
            "look-around",
        ),
        ({"anyOf": [{"type": "null"}, {"if": OBJECT, "then": OBJECT}]}, "anyOf[1].if", "if"),
        ({"$defs": {"x": {"type": "banana"}}, "$ref": "#/$defs/x"}, "$defs.x.type", "banana"),
        ({"items": {"properties": {"b": {"contains": {}}}}}, "items.properties.b.contains", "contains"),
        ({"$ref": "http://example.org/x"}, "", "example.org"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "", "unsatisfiable"),
        ([], "", "object"),
        ({"$ref": "#"}, "", "requires itself"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "$defs.a", "itself"),
        ({**OBJECT, "properties": {"n": {"$ref": "#"}}, "required": ["n"]}, "properties.n", "itself"),
        ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "items", "requires itself"),
    ],
)
def test_a_keyword_that_cannot_be_kept_is_named_with_its_place(schema: Any, path: str, word: str) -> None:
    with pytest.raises(Unsupported, match=word) as refused:
        check_schema(schema)
    assert refused.value.path == path


def test_a_schema_is_loosened_where_it_cannot_be_kept_and_only_there() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a.b[0]": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
            "when": {"type": "string", "format": "json-pointer", "maxLength": 9},
            "either": {"oneOf": [{"type": "number"}, {"type": "integer", "contains": {}}]},
        },
        "required": ["a.b[0]"],
    }
    kept = loosened(schema)
    check_schema(kept)
    assert kept["required"] == ["a.b[0]"]
    assert kept["properties"]["a.b[0]"] == {"type": "array", "items": {"type": "integer"}}
    assert kept["properties"]["when"] == {"type": "string", "maxLength": 9}
    assert schema["properties"]["when"]["format"] == "json-pointer"  # type: ignore[index]
    fine = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert loosened(fine) is fine


@pytest.mark.parametrize(
    ("schema", "kept"),
    [
        ({"type": "array", "$ref": "http://example.org/x"}, {"type": "array"}),
        ({"type": "banana"}, {}),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, {"type": "object"}),
    ],
)
def test_at_worst_the_type_is_kept(schema: dict[str, Any], kept: dict[str, Any]) -> None:
    assert loosened(schema) == kept


@pytest.mark.parametrize("parameters", [{"type": "string"}, {"type": ["object", "null"]}, {"type": 7}])
def test_arguments_are_always_an_object(parameters: dict[str, Any]) -> None:
    for strict in (True, False):
        with pytest.raises(Unsupported) as refused:
            check_parameters(parameters, strict=strict)
        assert refused.value.path == "type"
    check_parameters({}, strict=True)


def test_arguments_that_could_be_no_object_are_refused_where_they_have_to_be_kept() -> None:
    strings = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    with pytest.raises(Unsupported):
        check_parameters(strings, strict=True)
    check_parameters(strings, strict=False)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def doubled(levels: int, keyword: str) -> dict[str, Any]:
    definitions: dict[str, Any] = {f"d{levels}": {"type": "string"}}
    for level in range(levels):
        definitions[f"d{level}"] = {keyword: [{"$ref": f"#/$defs/d{level + 1}"}, {"$ref": f"#/$defs/d{level + 1}"}]}
    return {"$defs": definitions, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    "schema",
    [
        nested(5000),
        nested(50),
        doubled(60, "allOf"),
        doubled(60, "anyOf"),
        {"enum": [f"value {number}" for number in range(100_000)]},
        {"enum": [f"v{number}" for number in range(20_000)]},
        {"type": "string", "pattern": "((a{1,900}){1,900}){1,900}"},
        {"type": "string", "pattern": "(a|b)*a(a|b){900}"},
        {"type": "string", "pattern": "(" * 5000 + "a" + ")" * 5000},
        {"type": "string", "minLength": 1_000_000},
        {"type": "array", "minItems": 1_000_000, "items": {"type": "array", "minItems": 1_000_000}},
        {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(3000)}},
        {"allOf": [{"anyOf": [{"properties": {f"p{a}{b}": {"type": "string"}}} for b in range(10)]} for a in range(9)]},
        {"type": "integer", "minimum": 1, "maximum": 10**300},
        {"$ref": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    ],
)
def test_a_hostile_schema_is_decided_soon(schema: dict[str, Any]) -> None:
    started = time.process_time()
    message = ""
    try:
        check_schema(schema)
    except Unsupported as refused:
        message = str(refused)
    assert len(message) < 500
    assert time.process_time() - started < 5


def test_grammars_for_custom_tools() -> None:
    check_grammar('start: "a" B\nB: /[0-9]+/', "lark")
    check_grammar("[a-z]+", "regex")
    for definition, syntax in [
        ('start: "a" unknown', "lark"),
        ("start: <|im_end|>", "lark"),
        ("start: @other", "lark"),
        ('%llguidance {"no_forcing": true}\nstart: "a"', "lark"),
        ("(unbalanced", "regex"),
        ("(?=a)b", "regex"),
        ("a" * 100_000, "regex"),
    ]:
        with pytest.raises(Unsupported):
            check_grammar(definition, syntax)


def test_lark_is_split_without_loss() -> None:
    definition = 'start: "a\\"b"i /x\\/y/s // note <x>\n  | <|end|> @ref %import common.WS\n# done "'
    assert "".join(token.text for token in lark_tokens(definition)) == definition
