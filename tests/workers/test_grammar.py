"""The constraint on llguidance: what it lets through, what it forces, when it gives up, and what it shares."""

from __future__ import annotations

import itertools
import json
import random
import re
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from shared.grammar import check_schema, json_grammar
from shared.quoted import COMMON, quoted_lark, quoted_regex
from shared.schema.tools import AllowedTools, CustomChoice, CustomTool, FunctionChoice, FunctionTool, GrammarFormat
from shared.unsupported import Unsupported
from tests.workers.dialects.samples import SAMPLES, TOOLS, WEATHER, Sample, dialect_of, items
from tests.workers.dialects.walks import END, MARKERS, vocabulary, walk
from workers.dialects.base import Opening
from workers.dialects.toolbox import Toolbox
from workers.engine.masks import MaskMaker
from workers.grammar.builder import GrammarError
from workers.grammar.constraint import ConstraintBroken, OutputConstraint
from workers.grammar.grammars import Demand, Grammars, demand

QWEN3 = dialect_of("Qwen-Qwen3-0.6B")
HARMONY = dialect_of("openai-gpt-oss-120b")
CLOSED = "<think>\n\n</think>\n\n"
VOCABULARY = vocabulary(["<think>", "</think>", "<tool_call>", "</tool_call>"])
GRAMMARS = Grammars(VOCABULARY)
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "ok": {"type": "boolean"}},
    "required": ["name", "ok"],
    "additionalProperties": False,
}


def constraint(demanded: Demand, tail: str = CLOSED, **more: int) -> OutputConstraint:
    made = GRAMMARS.constraint(QWEN3, demanded, tail, **more)  # type: ignore[arg-type]
    assert made is not None
    return made


def mask(made: OutputConstraint) -> set[int]:
    rows = np.zeros((1, (VOCABULARY.tokenizer.vocab_size + 31) // 32), np.int32)
    OutputConstraint.fill_masks([made], rows)
    return set(np.flatnonzero(np.unpackbits(rows[0].view(np.uint8), bitorder="little")).tolist())


def write(made: OutputConstraint, text: str) -> None:
    for token in VOCABULARY.tokenize(text):
        made.accept(token)


def test_what_has_no_choice_is_forced() -> None:
    made = constraint(demand(Toolbox(), format=SCHEMA))
    write(made, "{")
    forced = VOCABULARY.tokenizer.decode_str(list(made.forced_tokens()))
    assert '{"name": "'.startswith("{" + forced)
    assert len(forced) >= 5


def test_a_complete_answer_is_finished() -> None:
    made = constraint(demand(Toolbox(), format=SCHEMA))
    write(made, '{"name": "x", "ok": true')
    assert not made.finished
    write(made, "}")
    assert made.finished


def test_a_token_outside_the_grammar_breaks_only_its_own_generation() -> None:
    made, other = constraint(demand(Toolbox(), format=SCHEMA)), constraint(demand(Toolbox(), format=SCHEMA))
    with pytest.raises(ConstraintBroken):
        write(made, "No.")
    write(other, '{"name": "x", "ok": true}')
    maker = MaskMaker(VOCABULARY.tokenizer.vocab_size)
    broken, fine = maker.start([made, other]).result()
    maker.close()
    assert isinstance(broken, ConstraintBroken)
    assert isinstance(fine, np.ndarray)
    with pytest.raises(ConstraintBroken):
        _ = made.finished
    assert other.finished


def test_masks_of_many_constraints_are_each_their_own() -> None:
    fresh, inside = constraint(demand(Toolbox(), format=SCHEMA)), constraint(demand(TOOLS))
    free = OutputConstraint()
    write(inside, "Hello")
    rows = np.zeros((3, (VOCABULARY.tokenizer.vocab_size + 31) // 32), np.int32)
    OutputConstraint.fill_masks([inside, fresh, free], rows)
    counts = [int(np.unpackbits(row.view(np.uint8)).sum()) for row in rows]
    assert counts[1] < 5 < counts[0] < counts[2]


def test_free_text_cannot_spell_a_trigger_that_is_a_token() -> None:
    made = constraint(demand(TOOLS))
    write(made, "see <tool_call")
    assert ord(">") not in mask(made)


def test_an_answer_may_end_in_the_middle_of_free_text_but_not_of_a_call() -> None:
    made = constraint(demand(TOOLS))
    write(made, "Hello")
    assert VOCABULARY.special[END] in mask(made)
    write(made, '<tool_call>\n{"name": "')
    assert VOCABULARY.special[END] not in mask(made)


def test_equal_requests_share_one_compiled_grammar() -> None:
    grammars = Grammars(VOCABULARY)
    for _ in range(3):
        assert grammars.constraint(QWEN3, demand(Toolbox([WEATHER])), CLOSED)
    assert len(grammars._compiled) == 1
    for number in range(200):
        tool = FunctionTool(name=f"tool_{number}", parameters={"type": "object"})
        grammars.constraint(QWEN3, demand(Toolbox([tool])), CLOSED)
    assert len(grammars._compiled) <= 64


def test_a_shared_grammar_is_not_moved_by_its_users() -> None:
    one, two = constraint(demand(Toolbox(), format=SCHEMA)), constraint(demand(Toolbox(), format=SCHEMA))
    write(one, '{"name": ')
    assert mask(two) == mask(constraint(demand(Toolbox(), format=SCHEMA)))


def test_nothing_is_demanded_of_free_text() -> None:
    assert GRAMMARS.constraint(QWEN3, demand(Toolbox()), "") is None
    assert GRAMMARS.constraint(QWEN3, demand(TOOLS, "none"), "") is None


def test_tool_choice() -> None:
    assert demand(TOOLS, "required").must_call
    assert not demand(TOOLS, "auto").must_call
    assert [tool.name for tool in demand(TOOLS, FunctionChoice(name="now")).tools] == ["now"]
    assert [tool.name for tool in demand(TOOLS, CustomChoice(name="apply_patch")).tools] == ["apply_patch"]
    allowed = demand(TOOLS, AllowedTools(mode="auto", tools=[{"type": "function", "name": "now"}]))
    assert ([tool.name for tool in allowed.tools], allowed.must_call) == (["now"], False)


def generate(made: OutputConstraint, text: str) -> str:
    """What an engine makes of `text`: it ends where something else was put in its place."""
    for token in VOCABULARY.tokenize(text):
        others = list(made.instead(token))
        for taken in others or [token]:
            made.accept(taken)
        if others or (others := list(made.forced_tokens())):
            return VOCABULARY.tokenizer.decode_str(others)
    return ""


def test_thinking_is_closed_when_its_budget_is_used() -> None:
    made = constraint(demand(TOOLS), "<think>\n", thinking_tokens=20)
    assert not generate(made, "abcdefghijklmnopqrs")
    assert not generate(made, "tu")  # a little longer, for the end of the line
    closing = generate(made, "\n")
    assert closing.endswith(" now.\n</think>\n\n")
    assert not made.forced_tokens()
    write(made, 'Yes.<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>')


def test_thinking_without_line_breaks_is_closed_all_the_same() -> None:
    made = constraint(demand(Toolbox()), "<think>\n", thinking_tokens=16)
    used = 0
    while not generate(made, "a"):
        used += 1
    assert 16 <= used <= 18


def test_thinking_is_not_closed_inside_a_character() -> None:
    made = constraint(demand(Toolbox()), "<think>\n", thinking_tokens=2)
    assert generate(made, "a😀b").startswith("\n\nConsidering")


def test_no_budget_at_all_closes_thinking_at_once() -> None:
    made = constraint(demand(Toolbox()), "<think>\n", thinking_tokens=0)
    assert VOCABULARY.tokenizer.decode_str(list(made.forced_tokens())) == "\n</think>\n\n"


def test_thinking_that_ends_by_itself_is_left_alone() -> None:
    for budget in (6, 7, 10):
        made = constraint(demand(Toolbox()), "<think>\n", thinking_tokens=budget)
        assert not generate(made, "short</think>")
        for _ in range(50):
            assert not generate(made, "long answer\n")


def test_the_model_may_not_analyse_where_no_reasoning_is_wanted() -> None:
    known = Grammars(vocabulary(["<|channel|>", "<|message|>", "<|end|>", "<|start|>"]))
    made = known.constraint(HARMONY, demand(TOOLS), "<|start|>assistant", may_reason=False)
    assert made is not None
    made.accept(known.vocabulary.special["<|channel|>"])
    with pytest.raises(ConstraintBroken):
        made.accept(ord("a"))


def test_a_schema_that_only_the_tool_s_strictness_needs() -> None:
    odd = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    loose = Toolbox([FunctionTool(name="loose", parameters=odd, strict=False)])
    assert GRAMMARS.constraint(QWEN3, demand(loose), CLOSED)
    strict = Toolbox([FunctionTool(name="strict", parameters=odd)])
    with pytest.raises(GrammarError, match="uniqueItems"):
        GRAMMARS.constraint(QWEN3, demand(strict), CLOSED)


@pytest.mark.parametrize("sample", {sample.dialect.name: sample for sample in SAMPLES}.values(), ids=str)
def test_loose_tools_give_json_in_every_family(sample: Sample) -> None:
    """Also where the schema says what cannot be kept."""
    inner = {"type": "array", "uniqueItems": True, "items": {"type": "integer"}, "maxItems": 2}
    properties = {"a": inner, "b": {"type": "string", "pattern": "(?=x)y"}}
    parameters = {"type": "object", "properties": properties, "required": ["a"], "additionalProperties": False}
    tools = Toolbox([FunctionTool(name="loose", parameters=parameters, strict=False)])
    known = Grammars(vocabulary(MARKERS))
    asked = demand(tools, "required", parallel=False)
    read = 0
    for seed in range(12):
        made = known.constraint(sample.dialect, asked, sample.tail)
        assert made is not None
        if (output := walk(made, known.vocabulary, random.Random(seed))) is None:
            continue
        parser = sample.dialect.parser(sample.tail, asked.tools, sure=True)
        [call] = [item for item in items([*parser.feed(output), *parser.finish()]) if item[0] == "call"]
        arguments = json.loads(call[2])
        assert isinstance(arguments["a"], list)
        assert set(arguments) <= {"a", "b"}
        read += 1
    assert read


def test_a_loose_format_is_kept_as_far_as_possible() -> None:
    loose = {**SCHEMA, "properties": {**SCHEMA["properties"], "ok": {"type": "boolean", "not": {"const": True}}}}
    with pytest.raises(GrammarError):
        constraint(demand(Toolbox(), format=loose))
    made = constraint(demand(Toolbox(), format=loose, strict=False))
    write(made, '{"name": "x", "ok": true}')
    assert made.finished


def test_a_bound_that_excludes_zero_does() -> None:
    def allows(schema: dict[str, Any], number: str) -> bool:
        matcher = LLMatcher(VOCABULARY.tokenizer, json_grammar({"type": "number", **schema}))
        return bool(matcher.consume_tokens(VOCABULARY.tokenize(number)) and matcher.is_accepting())

    for schema, inside, outside in (
        ({"exclusiveMinimum": 0, "maximum": 0.05}, ("0.05", "0.001"), ("0", "0.0", "-0.1", "0.06")),
        ({"exclusiveMinimum": 0, "minimum": 0.5, "exclusiveMaximum": 0.9}, ("0.5",), ("0", "0.4", "0.9")),
        ({"exclusiveMaximum": 0, "minimum": -0.05}, ("-0.05", "-0.001"), ("0", "-0", "-0.0", "0.1")),
        ({"exclusiveMinimum": 0}, ("0.00000001", "7"), ("0", "-1")),
    ):
        assert [n for n in inside if not allows(schema, n)] == []
        assert [n for n in outside if allows(schema, n)] == []


KEPT = {
    **{f: {"type": "string", "format": f} for f in ("date", "date-time", "email", "hostname", "ipv4", "ipv6", "uuid")},
    "numbers": {"type": "number", "minimum": -1.5, "exclusiveMaximum": 2.25},
    "multiples": {"type": "integer", "multipleOf": 7, "minimum": -20, "maximum": 100},
    "lengths": {"type": "string", "minLength": 3, "maxLength": 5},
    "a pattern of a length": {"type": "string", "pattern": "^[a-zé]+$", "minLength": 2, "maxLength": 4},
    "counted properties": {"type": "object", "minProperties": 2, "maxProperties": 3},
    "more properties": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
                        "additionalProperties": {"type": "string"}},
    "a tuple": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2,
                "maxItems": 4, "items": {"type": "null"}},
    "all of": {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                         {"properties": {"b": {"type": "string"}}, "required": ["b"]}]},
    "one of": {"oneOf": [{"type": "string", "maxLength": 4}, {"type": "integer"}]},
    "a constant": {"const": {"a": [1, 2.5, 'é\n"', None]}},
    "values": {"enum": ["a", "ä\t", 1.0, {"x": []}]},
    "types": {"type": ["string", "null", "integer"], "maxLength": 3},
    "recursion": {"$defs": {"t": {"type": "object", "properties": {"v": {"type": "integer"}, "kids": {
        "type": "array", "items": {"$ref": "#/$defs/t"}, "maxItems": 2}}, "required": ["v", "kids"],
        "additionalProperties": False}}, "$ref": "#/$defs/t"},
    "itself": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
               "required": ["next"], "additionalProperties": False},
    "bounds beside a reference": {"$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n", "minimum": 3, "maximum": 9},
}  # fmt: skip


@pytest.mark.parametrize("schema", KEPT.values(), ids=KEPT)
def test_what_is_written_validates(schema: dict[str, Any]) -> None:
    """By another judge than the one who made the grammar, formats included."""
    check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    written = [walk(constraint(demand(Toolbox(), format=schema)), VOCABULARY, random.Random(n), 300) for n in range(25)]
    assert any(written)
    for text in filter(None, written):
        validator.validate(json.loads(text))


def test_a_grammar_that_costs_too_much_fails_alone() -> None:
    """By llguidance's limits, which end it where it comes to cost too much: whatever would be computed is not."""
    tool = CustomTool(name="x", format=GrammarFormat(syntax="regex", definition="((a|b)*a(a|b){900}){40}"))
    made = constraint(demand(Toolbox([tool]), "required"))

    def written() -> None:
        for seed in range(10):
            walk(made, VOCABULARY, random.Random(seed))

    with pytest.raises(ConstraintBroken, match="too many expressions"):
        written()
    other = constraint(demand(Toolbox(), format=SCHEMA))
    maker = MaskMaker(VOCABULARY.tokenizer.vocab_size)
    broken, fine = maker.start([made, other]).result()
    maker.close()
    assert isinstance(broken, ConstraintBroken)
    assert isinstance(fine, np.ndarray)
    write(other, '{"name": "x", "ok": true}')
    assert other.finished


def test_deep_nesting_is_possible_where_a_schema_is_recursive() -> None:
    tree = {
        "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}},
        "type": "object",
        "properties": {"t": {"$ref": "#/$defs/t"}},
        "required": ["t"],
        "additionalProperties": False,
    }
    made = constraint(demand(Toolbox(), format=tree))
    write(made, '{"t": ' + "[" * 200 + "]" * 200 + "}")
    assert made.finished


def test_every_opening_has_a_grammar() -> None:
    for opening in Opening:
        assert GRAMMARS.matcher(GRAMMARS.grammar(QWEN3, demand(TOOLS, format=SCHEMA), opening))


REGEXES = [
    r"[a-z]+",
    r'"[^"]*"',
    r"(\\|/)+",
    r"\d{2}:\d{2}",
    r"[^a]b",
    r"(?s:.)x",
    r".\n.",
    r"[\"\\\n]é?",
    r"\w+\s\w+",
    r"(?i:ab)c",
    r"a|b|(c\td)",
    r"\x22\u0041",
]


@pytest.mark.parametrize("regex", REGEXES)
def test_a_regex_inside_a_json_string_means_the_same(regex: str) -> None:
    known = vocabulary()
    matcher = LLMatcher(
        known.tokenizer,
        LLMatcher.grammar_from_lark(f'start: "\\"" T "\\""\nT: /{quoted_regex(regex).replace("/", chr(92) + "/")}/'),
    )
    assert not matcher.is_error(), matcher.get_error()
    for seed in range(20):
        written = walk(OutputConstraint(matcher.deep_copy()), known, random.Random(seed), 60)
        if written is not None and "\ufffd" not in written:
            assert re.fullmatch(regex, json.loads(written)), written


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(REGEXES), st.data())
def test_every_text_of_a_regex_is_possible_inside_a_json_string(regex: str, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(regex, fullmatch=True))
    if any(ord(char) < 32 and char not in "\n\r\t\b\f" for char in text) or "\x7f" in text or not text.isascii():
        return  # control characters without a short escape are left out, and Python's classes are wider
    known = vocabulary()
    matcher = LLMatcher(
        known.tokenizer,
        LLMatcher.grammar_from_lark(f'start: "\\"" T "\\""\nT: /{quoted_regex(regex).replace("/", chr(92) + "/")}/'),
    )
    assert matcher.consume_tokens(known.tokenize(json.dumps(text))), (text, matcher.get_error())


LARK = [
    'start: "select\\n1"i',
    'start: "a\\"\\t\\u0009b/c"i',
    "start: /sel\\nt/i",
    "start: /(?i)^a(?-i:b)$|^c$/",
    "start: /(?is)a.b/",
    "start: /a.b/is",
    "start: X\nX: /^[a-z]{1,2}$/",
    "start: X\nX: /a[bc]*/ & /.*c/",
    "start: X\nX: ~/[a-zA-Z]{1,3}/",
    'start: X\nX: /.{1,3}/s & ~("a" | /b+/)',
    'start: X\nX: ~("a" ("b" | "c")*) & /[abcN]{0,3}/',
    'start: "a"~2..3 "b"',
    "start: /a\\n/ ~ 2",
    r'start: "\x41" "\x0a\x22"',
    r'start: "\\x41"',
    r"start: /\n+x?\t{2}/",
    r'start: /["\\]?(\r?\n){1,2}/',
    'start: ("!".."~")~1..2',
    *(f"%import common.{name}\nstart: {name}" for name in COMMON),
]
LETTERS = 'aAbBcN\n\t\r"\\1 '
TEXTS = ["".join(letters) for count in range(4) for letters in itertools.product(LETTERS, repeat=count)]
TEXTS += [
    "select\n1",
    "SELECT\n1",
    "SEL\nT",
    "sel\nt",
    'A"\t\tB/c',
    'A\n"',
    "\\x41",
    "a\na\n",
    "a\nn",
    "\n\nx\t\t",
    *("-1.5e+7", "+.5", "e-1", "2.", "--\t", "/**\n*/", "/* /*/", "// /", "#a", '"\\""'),
    '"\r\n\r\n',
]
WRONG = ["SELECT\\N1", "SEL\\NT", 'a\\"\\T\\tb/c', "a\\Nb", "a\\Rb", 'a"b', '"', "\n", "a\\", "\\u0041"]


@pytest.mark.parametrize("definition", LARK)
def test_a_lark_grammar_inside_a_json_string_is_that_of_the_same_texts(definition: str) -> None:
    def allows(matcher: LLMatcher, text: str) -> bool:
        matcher, tokens = matcher.deep_copy(), list(text.encode())
        return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())

    plain, quoted = (
        LLMatcher(VOCABULARY.tokenizer, LLMatcher.grammar_from_lark(lark))
        for lark in (definition, quoted_lark(definition))
    )
    allowed = {text for text in TEXTS if allows(plain, text)}
    assert 0 < len(allowed) < len(TEXTS)
    assert {text for text in TEXTS if allows(quoted, json.dumps(text)[1:-1])} == allowed
    assert not [text for text in WRONG if allows(quoted, text)]


@pytest.mark.parametrize(
    "definition", ['start: "a"\n%import python.X', "start: /a^b/", "start: @other", "start: <|end|>"]
)
def test_what_cannot_be_quoted_is_said(definition: str) -> None:
    with pytest.raises(Unsupported):
        quoted_lark(definition)
