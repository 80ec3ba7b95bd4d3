"""What the front end refuses: schemas and grammars that no output can be held to, with the place, soon and cheaply."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from llguidance import LLMatcher, LLTokenizer

import shared.grammar
import shared.grammar_apart
import shared.trials
from shared.excess import LARGEST, regex_size
from shared.grammar import (
    check_grammar,
    check_parameters,
    check_schema,
    json_grammar,
    loosened,
    loosened_arguments,
)
from shared.grammar_apart import Outcome, tried_apart
from shared.lark import lark_tokens
from shared.remembered import Remembered
from shared.settings import Settings
from shared.trials import OutOfTime, Trials
from shared.unsupported import Unsupported

OBJECT = {"type": "object"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^.{0,50000}$"},
        {"type": "string", "pattern": "^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12},){0,500}$"},
        {"type": "string", "pattern": r"^\{\w{1,9}(?i:x{2}[{}]{3})\}$"},
        {"type": "number", "multipleOf": 0.01},
        {"type": "integer", "multipleOf": 15_000_000},
        {**OBJECT, "properties": {"a": {"multipleOf": 997}, "b": {"type": "integer", "multipleOf": 991}}},
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
        (
            {**OBJECT, "properties": {"a": {"type": "string", "pattern": "(a{1000}){1000}"}}},
            "properties.a.pattern",
            "1000000 characters",
        ),
        ({"items": {"type": "string", "pattern": "^x{9}([ab]{999}){999}$"}}, "items.pattern", "repetitions"),
        ({"type": "string", "pattern": f"^{'a?' * 3000}{'a' * 3000}$"}, "pattern", "too large to be followed"),
        (
            {**OBJECT, "required": ["b"], "properties": {"b": {"enum": [{"a": n} for n in range(4000)]}}},
            "properties.b.enum",
            "too large to be followed",
        ),
        ({**OBJECT, "patternProperties": {"^(a{1000}){1000}$": {}}}, "patternProperties", "repetitions"),
        (
            {**OBJECT, "properties": {"n": {"type": "integer", "multipleOf": 999983}}},
            "properties.n.multipleOf",
            "20000",
        ),
        ({"allOf": [{"type": "integer", "multipleOf": n} for n in (7, 11, 13, 17, 19)]}, "", "multipleOf"),
        ({"type": "array", "items": {"const": "x"}, "minItems": 10**9}, "minItems", "too large"),
        (
            {
                "$defs": {
                    f"d{n}": {"type": "array", "items": {"$ref": f"#/$defs/d{n + 1}"}, "minItems": 2, "maxItems": 2}
                    for n in range(40)
                }
                | {"d40": {"const": 1}},
                "$ref": "#/$defs/d0",
            },
            "$defs.d0.items",
            "too large",
        ),
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


def test_the_schemas_of_many_tools_are_looked_into_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may list MCP_MAX_TOOLS tools, several servers may be asked, and each round needs all their schemas."""
    looked = 0
    refused = shared.grammar._refused

    def counted(*given: Any) -> Any:
        nonlocal looked
        looked += 1
        return refused(*given)

    monkeypatch.setattr(shared.grammar, "_refused", counted)
    schemas = [{**OBJECT, "properties": {f"only{n}": {"type": "integer"}}} for n in range(2 * Settings().mcp_max_tools)]
    for _ in range(2):
        assert all(loosened(schema) is schema for schema in schemas)
        assert looked == len(schemas)


def test_what_is_remembered_has_bounds() -> None:
    known: Remembered[str] = Remembered(entries=3, size=10)
    for text in ("a", "b", "c", "d"):
        known.put(text, text.upper(), 1)
    assert [known.get(text) for text in "abcd"] == [None, "B", "C", "D"]
    known.get("b")
    known.put("e", "E", 8)
    assert [known.get(text) for text in "bcde"] == ["B", None, "D", "E"]
    known.put("e", "E", 9)
    assert [known.get(text) for text in "bde"] == [None, "D", "E"]
    known.put("too large", "x", 11)
    assert len(known) == 0


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


LINKS: list[Callable[[Any], dict[str, Any]]] = [
    lambda following: following,
    lambda following: {"properties": {"a": following}},
    lambda following: {"items": {"items": {"items": following}}},
    lambda following: {"anyOf": [{"type": "null"}, following]},
    lambda following: {"pattern": "a*", "type": "string", **following},
]


def chain(length: int, link: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """References that each lead to the next one. A deep one has ended the whole process before."""
    definitions = {f"d{n}": link({"$ref": f"#/$defs/d{n + 1}"}) for n in range(length)}
    return {"$defs": {**definitions, f"d{length}": {"type": "string"}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize("link", LINKS[:4])
def test_references_may_be_as_deep_as_anybody_needs(link: Callable[[Any], dict[str, Any]]) -> None:
    check_schema(chain(100, link))


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
        {"type": "string", "pattern": "^(a{1000}){1000}$"},
        {"type": "string", "pattern": "a" + "{9}" * 20_000},
        {"type": "string", "pattern": "^(" + "|".join(f"(x{{{n}}}y){{{n}}}" for n in range(100, 400)) + ")$"},
        {"allOf": [{"type": "string", "pattern": f"(a|b)*a(a|b){{{count}}}"} for count in range(10, 40)]},
        {**OBJECT, "patternProperties": {f"^(a|b)*a(a|b){{{count}}}$": {} for count in range(90)}},
        {**OBJECT, "properties": {f"p{n}": {"type": "string", "pattern": f"^{'a?' * n}b{{{n}}}"} for n in range(900)}},
        {"type": "integer", "multipleOf": 10**9 + 7},
        {"allOf": [{"type": "integer", "multipleOf": n} for n in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29)]},
        {"type": "number", "multipleOf": 1e-300},
        {"enum": [{"a": number} for number in range(10_000)]},
        {"anyOf": [{**OBJECT, "properties": {f"p{a}": {"const": b} for a in range(20)}} for b in range(400)]},
        {"$defs": {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(6000)} | {"d6000": {}}, "$ref": "#/$defs/d0"},
        *(chain(1000, link) for link in LINKS),
        chain(3000, LINKS[0]),
        {"type": "string", "minLength": 10**9},
        {"type": "object", "minProperties": 10**9},
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
    """Also where it need not be kept, and in bounded memory."""
    in_bounds(partial(decided, schema))
    in_bounds(partial(loosened, schema))


def decided(schema: dict[str, Any]) -> None:
    """Raises ValueError where what is said about it is too long to be read."""
    try:
        check_schema(schema)
    except Unsupported as refused:
        if len(str(refused)) > 500:
            raise ValueError from None


def in_bounds(work: Callable[[], object]) -> None:
    """Runs it in a process that the kernel holds to 10 s of computing and 600 MiB more than it has."""
    child = os.fork()
    if child == 0:
        try:
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + 600 * 2**20,) * 2)
            resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
            work()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


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


@pytest.mark.parametrize(
    ("definition", "syntax", "reason"),
    [
        ("start:", "lark", "no text at all"),
        ('start: a\na: ""', "lark", "no text at all"),
        ("", "regex", "no text at all"),
        ("(x{0})*", "regex", "no text at all"),
        (r"a[^\s\S]b", "regex", "no text leads to an end"),
        ("start: start", "lark", "no text leads to an end"),
        ('start: "x" a\na: b\nb: a', "lark", "no text leads to an end"),
        ('start: "y" | "x" a\na: /a/ a', "lark", "no text leads to an end|too large"),
        ('start: "x" A\nA: /a/ & /b/', "lark", "no text leads to an end"),
        ("(a{1000}){1000}", "regex", "1000000 characters"),
        ("start: /(a{1000}){1000}/", "lark", "characters"),
        ('start: (a{1000}){1000}\na: "x"', "lark", "too large"),
        ("start: a0\n" + "\n".join(f"a{n}: a{n + 1} a{n + 1}" for n in range(60)) + '\na60: "x"', "lark", "too large"),
    ],
)
def test_a_grammar_that_no_text_follows_is_refused(definition: str, syntax: str, reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        check_grammar(definition, syntax)


@pytest.mark.parametrize(
    "definition",
    [
        "start: a0\n" + "\n".join(f"a{n}: a{n + 1}" for n in range(3500)) + '\na3500: "x"',
        "start: A\nA: /[ab]*/" + "".join(f" & /(a|b)*a(a|b){{{n}}}/" for n in range(30)),
        "start: " + "(" * 20_000 + '"a"' + ")" * 20_000,
        "start: A0\n" + "\n".join(f"A{n}: A{n + 1} A{n + 1}" for n in range(60)) + '\nA60: "x"',
    ],
    ids=["chain", "and", "nested", "doubled"],
)
def test_a_hostile_grammar_is_decided_soon(definition: str) -> None:
    """The first one has ended the whole process before, the second one came to no end."""

    def refused() -> None:
        with pytest.raises(Unsupported):
            check_grammar(definition, "lark")

    in_bounds(refused)


def test_a_grammar_that_looks_hostile_may_be_followed_where_it_is_not() -> None:
    """It has many patterns for one text, so a process of its own tries it."""
    definition = "start: A\nA: /[ab]*/" + "".join(f" & ~/(a|b)*a(a|b){{{n}}}/" for n in range(30))
    in_bounds(partial(check_grammar, definition, "lark"))


def test_a_grammar_whose_forced_text_has_no_end_hurts_nobody() -> None:
    """Lexers are greedy: nothing but an `a` may follow the `a`, for ever. llguidance holds the interpreter then."""
    with pytest.raises(Unsupported):
        check_grammar('start: /a+/ "ab" | "c"', "lark")


def test_multiples_that_never_meet_are_taken() -> None:
    multiples = {f"p{step}": {"type": "integer", "multipleOf": step} for step in (15, 7, 24, 365)}
    check_schema({**OBJECT, "properties": {**multiples, "note": {"anyOf": [{"type": "string"}, {"type": "null"}]}}})


@pytest.mark.parametrize("name", ["default", "enum", "const", "examples"])
def test_a_property_may_be_called_as_a_keyword_and_is_checked(name: str) -> None:
    with pytest.raises(Unsupported):
        check_schema({**OBJECT, "properties": {name: {"type": "integer", "multipleOf": 999_983}}})


def test_a_grammar_may_have_as_many_rules_as_anybody_needs() -> None:
    check_grammar("start: a0\n" + "\n".join(f'a{n}: "x" a{n + 1}' for n in range(900)) + '\na900: "y"', "lark")


def test_a_grammar_may_allow_an_empty_text_too() -> None:
    check_grammar("x?", "regex")
    check_grammar('start: "x"*', "lark")


@pytest.mark.parametrize(
    ("regex", "size"),
    [
        ("", 0),
        ("abc", 3),
        (r"a\{2}[{2}]{3}", 7),
        ("(ab|c){4}d*", 13),
        ("((a{2,3}){4,}b){5}", 65),
        (r"\p{L}{7}(?:x)(?i)(?<n>y){0}", 9),
        ("a{3}{3}", 9),
        ("(((", 0),
        ("a)){2}b", 5),
        ("(a{99999}){99999}", 10**9),
    ],
)
def test_a_regex_s_size_is_that_with_its_repetitions_written_out(regex: str, size: int) -> None:
    assert regex_size(regex) == size


def fits(schema: dict[str, Any], text: str) -> bool:
    """Whether output that is held to a schema can be a text."""
    matcher = LLMatcher(LLTokenizer("byte"), json_grammar(schema), log_level=0)
    return all(matcher.consume_token(byte) for byte in text.encode()) and matcher.is_accepting()


def test_many_patterns_of_names_are_refused_before_they_cost_anything() -> None:
    def patterns(count: int) -> dict[str, Any]:
        return {**OBJECT, "patternProperties": {f"^p{number}_": {"type": "integer"} for number in range(count)}}

    check_schema(patterns(64))
    with pytest.raises(Unsupported, match="400 patterns, 64 are possible"):
        check_schema(patterns(400))


INT64, UINT64 = {"minimum": -(2**63), "maximum": 2**63 - 1}, {"minimum": 0, "maximum": 2**64 - 1}


@pytest.mark.parametrize("kind", ["integer", "number", ["integer", "null"], None])
@pytest.mark.parametrize(
    ("bounds", "most"),
    [(INT64, LARGEST), (UINT64, LARGEST), ({"exclusiveMaximum": 1e308, "minimum": -1e308}, LARGEST)],
)
def test_bounds_beyond_64_bits_are_those_of_64_bits(kind: Any, bounds: dict[str, Any], most: int) -> None:
    schema = {**bounds, **({"type": kind} if kind else {})}
    check_schema(schema)
    assert fits(schema, str(2**60 + 1))
    assert fits(schema, str(most - 1024))
    assert not fits(schema, str(10 * most))
    assert fits(schema, "-7") == (bounds["minimum"] < 0)


@pytest.mark.parametrize(("least", "most"), [(2**53 + 1, 2**53 + 9), (-(2**53) - 9, -(2**53) - 1)])
def test_bounds_between_doubles_let_nothing_else_through(least: int, most: int) -> None:
    schema = {"type": "integer", "minimum": least, "maximum": most}
    check_schema(schema)
    through = [number for number in range(least - 20, most + 20) if fits(schema, str(number))]
    assert least <= min(through) <= least + 1
    assert most - 1 <= max(through) <= most


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"const": -(2**63)}, "const"),
        ({"enum": [1, -1e19]}, "enum"),
        ({"minimum": -1e30, "maximum": -1e29}, "maximum"),
        ({"exclusiveMinimum": 2**63}, "exclusiveMinimum"),
        ({"enum": [2**53 + 1]}, "enum"),
        ({"const": 12345678901234567890}, "const"),
        ({"const": {"a": [123456789012345678]}}, "const"),
    ],
)
@pytest.mark.parametrize("kind", ["integer", "number", None])
def test_a_number_that_cannot_be_kept_is_refused_by_its_place(schema: dict[str, Any], place: str, kind: Any) -> None:
    """llguidance ends the process over some of them, and writes other numbers for some."""
    schema = {**schema, **({"type": kind} if kind else {})}
    with pytest.raises(Unsupported) as refused:
        check_schema({"type": "object", "properties": {"a": schema}})
    assert refused.value.path == f"properties.a.{place}"
    kept = loosened({"type": "object", "properties": {"a": schema}})
    assert place not in kept["properties"]["a"]


@pytest.mark.parametrize("number", [2**53, 10**18, -(10**18), 0.1, 1e-7, True])
def test_a_number_that_doubles_hold_is_written_as_it_is(number: Any) -> None:
    check_schema({"const": number})
    assert fits({"const": number}, json.dumps(number) if number != 1e-7 else "0.0000001")


def test_what_is_forced_is_not_followed_to_its_end() -> None:
    """A text without a choice may be as long as its schema; llguidance takes seconds for 80,000 bytes of it."""
    names = [f"p{number}" for number in range(7000)]
    schema = {**OBJECT, "properties": {name: {"const": 1} for name in names}, "required": names}
    in_bounds(lambda: [check_schema({**schema, "title": str(number)}) for number in range(2)])


def test_one_request_gets_no_more_than_some_seconds() -> None:
    """Each of its grammars is possible: together they would keep a thread for minutes."""
    over = Trials(seconds=0)
    object_of = {**OBJECT, "properties": {"one_of_many": {"type": "string"}}}
    checks: list[Callable[[Trials], None]] = [
        partial(check_grammar, 'start: "one of many"', "lark"),
        partial(check_grammar, "one of many", "regex"),
        partial(check_schema, object_of),
        partial(check_parameters, {**object_of, "required": ["one_of_many"]}, strict=True),
    ]
    for check in checks:
        with pytest.raises(Unsupported, match="take more than 5 s to look into, up to this one"):
            check(trials=over)  # type: ignore[call-arg]
        with pytest.raises(OutOfTime):
            check(trials=Trials(seconds=0, first_look=True))  # type: ignore[call-arg]
        check(trials=Trials())  # type: ignore[call-arg]
    checks[2](trials=over)  # type: ignore[call-arg]  # known by now


def fans_out(number: int) -> dict[str, Any]:
    """7 KB that hold the interpreter for half a second at each byte of a text."""
    members = {f"p{n}": {"type": "integer", "minimum": n + number} for n in range(100)}
    one = {**OBJECT, "properties": members, "required": ["p0"]}
    return {"$defs": {"d": one}, "anyOf": [{"$ref": "#/$defs/d", "x": n} for n in range(100)]}


def test_what_a_schema_costs_is_paid_by_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time ends it, and what comes then finds another one."""
    with pytest.raises(OutOfTime):
        check_schema(fans_out(1), Trials(seconds=0.05, first_look=True))
    tried: list[int] = []
    looked_at = shared.trials.tried_apart

    def noted(grammars: Sequence[str], *how: Any) -> Outcome:
        tried.append(len(grammars[0]))
        return looked_at(grammars, *how)

    monkeypatch.setattr(shared.trials, "tried_apart", noted)
    with contextlib.suppress(Unsupported):  # a fast machine might follow it
        check_schema(fans_out(1))
    assert max(tried) > 6000
    check_schema({**OBJECT, "properties": {"behind_it": {"type": "integer"}}})
    assert len(tried) > 1


def test_a_process_that_was_ended_is_followed_by_another() -> None:
    grammar = json_grammar(fans_out(2))
    short = tried_apart([grammar], ["validated", "tried"], 0.05)
    assert (short.problem is not None, short.sure) == (True, False)
    assert tried_apart([json_grammar(OBJECT)], ["validated", "tried"]) == (None, ANY, True)
    for process in list(shared.grammar_apart._idle):
        process.kill()
        process.wait()
    assert tried_apart([json_grammar(OBJECT)], ["validated", "tried"]) == (None, ANY, True)


def odd(number: int, properties: int = 6) -> dict[str, Any]:
    """A schema that has to be searched for the places of what cannot be kept."""
    pattern = {"type": "string", "pattern": f"(?=x{number})y"}
    return {**OBJECT, "properties": {f"p{n}": pattern for n in range(properties)}}


@pytest.mark.parametrize("first", [range(6), range(5, -1, -1), [3]])
def test_the_schemas_of_one_request_are_searched_so_far_and_no_further(
    first: Iterable[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left is any object, the same whatever was known before: another worker may have to go on with it."""
    monkeypatch.setattr(shared.grammar, "_LOOSENED", Remembered(entries=100, size=10_000))
    for number in first:
        loosened(odd(number), one := Trials())
    trials = Trials()
    trials.searched = 5 * (trials.searched - one.searched) // 2
    kept = [len(loosened(odd(number), trials)) for number in range(6)]
    assert kept == [2, 2, 1, 1, 1, 1]
    assert len(loosened(OBJECT, trials)) == 1
    assert len(loosened(odd(5))) == 2


def test_what_is_loosened_at_once_is_what_there_is_no_time_for() -> None:
    with pytest.raises(OutOfTime):
        loosened(odd(77), Trials(seconds=0, first_look=True))
    assert loosened(odd(77), Trials(seconds=0)) == OBJECT
    assert loosened(odd(77))["properties"] == {f"p{n}": {"type": "string"} for n in range(6)}


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "const": [1]},
        {"type": "object", "anyOf": [{"type": "null"}, {"type": "string"}]},
        {"const": 7},
        {"type": "string"},
        {"required": ["a"], "additionalProperties": False},
        {"enum": []},
    ],
)
def test_arguments_that_could_be_no_object_are_any(parameters: dict[str, Any]) -> None:
    kept = loosened_arguments(parameters)
    check_parameters(kept, strict=True)
    assert kept["type"] == "object"


@pytest.mark.parametrize(
    ("definition", "named"),
    [
        ('start: "(" json ")"\njson: %json {"type": "integer"}', "%json"),
        ("start: <[12]>", "<[12]>"),
        (r"start: /[\x{41}b]/", "the class"),
    ],
)
def test_what_some_models_could_not_follow_is_refused_for_all(definition: str, named: str) -> None:
    with pytest.raises(Unsupported, match=re.escape(named)):
        check_grammar(definition, "lark")


def test_lark_that_every_model_can_follow_is_taken() -> None:
    for definition in ("start: X\nX: /^[a-z]{1,5}$/", "start: X\nX: /a/ & ~/b/", 'start: "a"~2..3 "\\x41"'):
        check_grammar(definition, "lark")


def test_lark_is_split_without_loss() -> None:
    definition = 'start: "a\\"b"i /x\\/y/s // note <x>\n  | <|end|> @ref %import common.WS\n# done "'
    assert "".join(token.text for token in lark_tokens(definition)) == definition
