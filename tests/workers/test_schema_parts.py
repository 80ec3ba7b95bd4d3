"""Parts of a schema that stand on their own, and names that it does not list."""

from __future__ import annotations

import re
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from shared.grammar import json_grammar
from tests.workers.dialects.test_hostile_schemas import within
from tests.workers.dialects.walks import MARKERS, vocabulary
from workers.grammar.builder import GrammarBuilder, GrammarError
from workers.grammar.names import fits, searched, unlisted
from workers.grammar.parts import Parts

BYTES = LLTokenizer("byte")
WHOLE = {
    "properties": {
        "own": {"$defs": {"T": {"type": "integer"}}, "items": {"$ref": "#/properties/own/$defs/T"}, "type": "array"},
        "anchor": {"$ref": "#there"},
        "address": {"$ref": "urn:here"},
        "option": {"$ref": "#/anyOf/1"},
        "escaped": {"$ref": "#/$defs/a~1b%20c"},
        "data": {"const": {"$ref": "#/$defs/no"}},
        "named": {"type": "object", "properties": {"$ref": {"$ref": "#there"}}, "additionalProperties": False},
    },
    "anyOf": [True, {"type": "boolean"}],
    "$defs": {
        "a/b c": {"type": "null"},
        "x": {"$anchor": "there", "type": "integer"},
        "y": {"$id": "urn:here", "enum": ["here"]},
        "unused": {"type": "string"},
    },
}


def written(grammar: str, text: str) -> bool:
    matcher = LLMatcher(BYTES, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    return matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("own", "[1]", '["x"]'),
        ("anchor", "1", '"x"'),
        ("address", '"here"', '"there"'),
        ("option", "true", "1"),
        ("escaped", "null", "1"),
        ("data", '{"$ref": "#/$defs/no"}', "1"),
        ("named", '{"$ref": 1}', '{"$ref": "x"}'),
    ],
)
def test_a_part_means_what_it_means_in_the_whole(name: str, good: str, bad: str) -> None:
    alone = Parts(WHOLE).alone(WHOLE["properties"][name])  # type: ignore[index]
    assert written(json_grammar(alone), good)
    assert not written(json_grammar(alone), bad)


def test_a_part_brings_only_what_it_refers_to() -> None:
    assert "unused" not in str(Parts(WHOLE).alone(WHOLE["properties"]["anchor"]))  # type: ignore[index]


def test_parts_that_refer_to_everything_are_refused_before_they_fill_the_memory() -> None:
    count = 1000
    layers = {f"d{n}": {"properties": {"next": {"$ref": f"#/$defs/d{(n + 1) % count}"}}} for n in range(count)}
    root = {"$defs": layers}
    g = GrammarBuilder(vocabulary(MARKERS))

    def written_all() -> list[str]:
        return [g.json({"$ref": f"#/$defs/{name}"}, root) for name in layers]

    with pytest.raises(GrammarError, match="too large"):
        written_all()


PATTERNS = ["^x", "b$", "a|^b", "^[0-9]+$", "x-.*", "^(a|bb)$", "[$^]", r"\.", "a/b", "", "(a)(?:b)", r"^\w+ \w+$"]
NAMES = ["x", "ab", "a", "b", "12", "x-y", "bb", "$", "a.b", "a/b", "zz", "groß x", "gross x"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_name_fits_a_pattern_wherever_it_is_found(pattern: str) -> None:
    regex = searched(pattern)
    assert regex is not None
    for name in NAMES:
        found = re.search(pattern, name, re.ASCII) is not None
        assert fits(pattern, name) == found, name
        if name.isascii():
            assert written(LLMatcher.grammar_from_lark(f"start: /{regex}/"), name) == found, name


@pytest.mark.parametrize("pattern", ["(^a|b$)", r"\bx", "(?=x)", "(?<n>x)", "a^b"])
def test_a_pattern_that_cannot_be_written_is_left_out(pattern: str) -> None:
    assert searched(pattern) is None
    assert not list(unlisted({"patternProperties": {pattern: True}}, ()))


def test_a_hostile_pattern_takes_no_time_to_fit() -> None:
    assert not within(2000, lambda: fits("^(x+x+)+$", "x" * 200 + "y"))


def test_names_that_are_listed_or_impossible_are_not_made_up() -> None:
    schema: dict[str, Any] = {"patternProperties": {"^x": True, "ö": True}, "additionalProperties": {"type": "null"}}
    (fitting, of_fitting), (other, of_other) = unlisted(schema, ["xa", "b", "a b"])
    assert (of_fitting, of_other) == (True, {"type": "null"})
    for terminal, names in ((fitting, {"xb"}), (other, {"a"})):
        grammar = LLMatcher.grammar_from_lark(f"start: T\nT: {terminal}")
        assert {name for name in ("xa", "xb", "a", "b", "ö") if written(grammar, name)} == names


MEMBERS = [('"a"', False), ('"b"', True), ('"c"', False), ('"d"', False)]


@pytest.mark.parametrize(
    ("members", "counts", "good", "bad"),
    [
        (MEMBERS, {}, ["b", "a,b", "b,d", "a,b,c,d"], ["", "a", "b,a", "a,b,"]),
        (MEMBERS, {"most": 1}, ["b"], ["a,b", "", "a"]),
        (MEMBERS, {"most": 2}, ["b", "a,b"], ["a,b,c"]),
        (MEMBERS, {"least": 3}, ["a,b,c", "a,b,c,d"], ["a,b", "b"]),
        (MEMBERS[2:], {}, ["", "c", "d", "c,d"], [","]),
        (MEMBERS[2:], {"least": 1}, ["c", "d", "c,d"], [""]),
        (MEMBERS[2:], {"least": 1, "most": 1}, ["c", "d"], ["", "c,d"]),
        (MEMBERS[2:], {"most": 1}, ["", "c", "d"], ["c,d"]),
        (MEMBERS[2:], {"most": 0}, [""], ["c"]),
        ([], {}, [""], ["a"]),
    ],
)
def test_lists_of_members(members: Any, counts: dict[str, int], good: list[str], bad: list[str]) -> None:
    g = GrammarBuilder(vocabulary())
    grammar = g.finish(g.listed(members, ",", **counts))
    assert [text for text in (*good, *bad) if written(grammar, text)] == good


def test_a_list_that_nothing_can_be_is_refused() -> None:
    with pytest.raises(GrammarError):
        GrammarBuilder(vocabulary()).listed(MEMBERS, ",", least=5)
