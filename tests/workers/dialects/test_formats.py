"""`text.format`, beside tools and without: what is a call and what is the answer, for the grammar and for the parser.

Whatever the grammar lets through is either calls by their schemas or one text that is the JSON, byte for byte.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.schema.tools import FunctionTool
from tests.workers.dialects.samples import ISSUES, NOW, SAMPLES, WEATHER, Sample, dialect_of, items
from tests.workers.dialects.test_grammars import DIALECTS, FAMILIES, GRAMMARS, TOOLSETS, check
from tests.workers.dialects.test_robustness import FRAGMENTS
from tests.workers.dialects.walks import walk
from workers.dialects.base import Opening
from workers.dialects.toolbox import Toolbox
from workers.grammar.constraint import OutputConstraint
from workers.grammar.grammars import Demand, demand

Said = tuple[tuple[str, ...], ...]


def record(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
STEPS = record(note=TEXT, steps={"type": "array", "items": record(name=TEXT, why=TEXT)})
PERSON = record(name=TEXT, age={"type": "integer"})
CALL = record(name=TEXT, parameters={"type": "object"})
FORMATS = {"steps": STEPS, "a name first": PERSON, "what looks like a call": CALL, "any object": {}}
TOOLS = TOOLSETS["three tools"]


def constraint_of(sample: Sample, demanded: Demand, known: str = "special") -> OutputConstraint:
    constraint = GRAMMARS[known].constraint(sample.dialect, demanded, sample.tail)
    assert constraint is not None
    return constraint


def head(sample: Sample, known: str = "special") -> list[int]:
    """What stands before an answer, in tokens."""
    if sample.dialect.name == "harmony":
        text = "<|channel|>final<|message|>"
    elif sample.dialect.opening(sample.tail) is Opening.REASONING:
        text = "Hm." + sample.dialect.reasoning_end
    else:
        text = ""
    return GRAMMARS[known].vocabulary.tokenize(text)


def read(sample: Sample, output: str, demanded: Demand) -> Said:
    """What the parser makes of an output, however it comes."""

    def said(chunks: Sequence[str]) -> Said:
        parser = sample.dialect.parser(
            sample.tail, demanded.tools or None, sure=True, formatted=demanded.format is not None
        )
        return items([piece for chunk in chunks for piece in parser.feed(chunk)] + parser.finish())

    whole = said([output])
    assert said(output) == whole
    return tuple(item for item in whole if item[0] != "reasoning")


def check_calls_or_answer(output: str, said: Said, demanded: Demand) -> None:
    if said and said[0][0] == "call":
        for item in said:
            check(item, demanded.tools)
        return
    [(kind, words)] = said
    assert (kind, words[0]) == ("text", "{"), output
    assert demanded.format is not None
    jsonschema.validate(json.loads(words), demanded.format)
    after = output.rpartition(words)[2]
    assert output.endswith(words) or after in ("</response>", "<|END_RESPONSE|>"), output


spelled = st.lists(
    st.sampled_from([fragment for fragment in FRAGMENTS if fragment.isprintable()])
    | st.sampled_from([sample.output for sample in SAMPLES])
    | st.sampled_from(["<response>", "</response>", "<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|python_tag|>"]),
    max_size=8,
).map("".join)


@pytest.mark.parametrize("tools", [TOOLS, Toolbox()], ids=["tools", "no tools"])
@pytest.mark.parametrize("sample", FAMILIES)
def test_all_that_a_family_writes_may_be_spelled(sample: Sample, tools: Toolbox) -> None:
    own = [other.output for other in SAMPLES if other.template == sample.template]
    check_spelled(sample, tools, "".join(own), "".join(part for part in FRAGMENTS if part.isprintable()), "")


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(DIALECTS), spelled, spelled, st.sampled_from([TOOLS, Toolbox()]), st.sampled_from(["", "\n\n"]))
def test_an_answer_by_a_format_is_text_whatever_it_spells(
    sample: Sample, note: str, why: str, tools: Toolbox, breaks: str
) -> None:
    check_spelled(sample, tools, note, why, breaks)


def check_spelled(sample: Sample, tools: Toolbox, note: str, why: str, breaks: str) -> None:
    answer = json.dumps({"note": note, "steps": [{"name": "get_weather", "why": why}]}, ensure_ascii=False)
    demanded = demand(tools, format=STEPS)
    constraint = constraint_of(sample, demanded)
    before = head(sample)
    if not before and sample.dialect.name != "llama-3":
        before += breaks.encode()
    for token in [*before, *answer.encode()]:  # control tokens are not what spells their names
        constraint.accept(token)
    output = GRAMMARS["special"].vocabulary.tokenizer.decode_bytes(before).decode() + answer
    assert read(sample, output, demanded) == (("text", answer),)


@pytest.mark.parametrize("known", GRAMMARS)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("sample", FAMILIES)
def test_a_call_or_an_answer_by_a_schema(sample: Sample, format: str, known: str) -> None:
    demanded = demand(TOOLS, format=FORMATS[format])
    vocabulary = GRAMMARS[known].vocabulary
    kinds = set()
    for number in range(8):
        rng = random.Random(number)
        begun: list[int] = []
        if number % 2:
            spelt = "".join(rng.choices([json.dumps(sample.output)[1:-1], "{", "[", *FRAGMENTS[:-1]], k=3))
            text = {"steps": '{"note": "', "a name first": '{"name": "', "any object": '{"name": "'}.get(format, '{"')
            begun = [*head(sample, known), *(text + json.dumps(spelt, ensure_ascii=False)[1:-1]).encode()]
        output = walk(constraint_of(sample, demanded, known), vocabulary, rng, begun=begun)
        if output is None:
            continue
        said = read(sample, output, demanded)
        check_calls_or_answer(output, said, demanded)
        kinds.add(said[0][0])
    assert kinds or known == "words"


@pytest.mark.parametrize("sample", FAMILIES)
def test_an_answer_may_begin_as_a_call_does(sample: Sample) -> None:
    for format, answer in (
        (PERSON, '{"name": "Bob", "age": 42}'),
        (PERSON, '{"name": "get_weather", "age": 42}'),
        (CALL, '{"name": "get_weather", "parameters": {"city": 5}}'),
        (CALL, '{"name": "get_rain", "parameters": {"city": "Oslo"}}'),
        ({}, '{"name": "get_weather", "parameters": {}}'),
        ({}, '{"name": "get_weather"}'),
        ({}, '{"name": "now", "parameters": {}, "sure": true}'),
        ({}, '{"type": "function", "name": "now", "parameters": {}}'),
    ):
        demanded = demand(TOOLS, format=format)
        constraint = constraint_of(sample, demanded)
        before = head(sample)
        for token in [*before, *answer.encode()]:
            constraint.accept(token)
        output = GRAMMARS["special"].vocabulary.tokenizer.decode_bytes(before).decode() + answer
        assert read(sample, output, demanded) == (("text", answer),)


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.what in ("one_call", "two_calls")], ids=lambda s: s.family)
def test_a_call_takes_the_place_of_an_answer(sample: Sample) -> None:
    for format in FORMATS.values():
        demanded = demand(Toolbox([WEATHER, NOW, ISSUES]), format=format)
        assert read(sample, sample.output, demanded) == tuple(item for item in sample.said if item[0] == "call") or (
            sample.said[1][0] == "text"  # words before a call: the format allows none
        )


@pytest.mark.parametrize("format", [None, STEPS])
def test_harmony_has_no_preamble_beside_a_format(format: dict[str, Any] | None) -> None:
    sample = next(sample for sample in DIALECTS if sample.dialect.name == "harmony")
    constraint = constraint_of(sample, demand(TOOLS, format=format))
    tokens = GRAMMARS["special"].vocabulary.tokenize("<|channel|>commentary<|message|>")
    allowed = constraint._matcher.validate_tokens(tokens)  # type: ignore[union-attr]
    assert (allowed == len(tokens)) is (format is None)


WRAPPED = {
    "ibm-granite-granite-3.3-2B-Instruct": ("<|end_of_role|>", "<response>", "</response>"),
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": (
        "<|START_THINKING|><|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("(Hello.\nYou.)", "Hello.\nYou."),
        ("\n(\n  Hello.\n)\n \n", "  Hello."),
        ("Here:\n\n(\n  <name>Bob</name>\n)\n\nDone.", None),
        ("Here: (Bob)", None),
        ("(Use ( and ) so:\n\n)\n\nDone.)", "Use ( and ) so:\n\n)\n\nDone."),
        ("Hello.)", None),
        ("\n Hello.\n", None),
    ],
)
@pytest.mark.parametrize("template", WRAPPED)
def test_the_markers_round_an_answer_are_those_at_its_ends(template: str, output: str, text: str | None) -> None:
    """In `output` and `text` they are brackets."""
    tail, begin, end = WRAPPED[template]
    marked = {"(": begin, ")": end}
    output, expected = (
        "".join(marked.get(c, c) for c in words) for words in (output, output if text is None else text)
    )
    for chunks in ([output], list(output)):
        for tools in (None, TOOLS):
            parser = dialect_of(template).parser(tail, tools)
            said = items([piece for chunk in chunks for piece in parser.feed(chunk)] + parser.finish())
            assert said == (("text", expected),)


@pytest.mark.parametrize("template", WRAPPED)
def test_a_call_may_follow_the_markers_round_what_is_said_before_it(template: str) -> None:
    tail, begin, end = WRAPPED[template]
    call = next(s.output for s in SAMPLES if s.template == template and s.what == "one_call")
    parser = dialect_of(template).parser(tail, TOOLS)
    said = items(parser.feed(f"{begin}Let me look.{end}\n{call}") + parser.finish())
    assert [item[:2] for item in said] == [("text", "Let me look."), ("call", "get_weather")]


@pytest.mark.parametrize("template", WRAPPED)
def test_markers_may_stand_round_json_too(template: str) -> None:
    sample = next(s for s in SAMPLES if s.template == template and s.what == "plain")
    _, begin, end = WRAPPED[template]
    answer = json.dumps({"note": f"a {begin}b{end}\n", "steps": []})
    vocabulary = GRAMMARS["special"].vocabulary
    for tools in (Toolbox(), TOOLS):
        demanded = demand(tools, format=STEPS)
        for before, after in ((begin, end), (begin, ""), ("", "")):
            constraint = constraint_of(sample, demanded)
            for token in [*vocabulary.tokenize(before), *answer.encode(), *vocabulary.tokenize(after)]:
                constraint.accept(token)
            assert read(sample, before + answer + after, demanded) == (("text", answer),)
        matcher = constraint_of(sample, demanded)._matcher
        assert matcher is not None
        assert matcher.validate_tokens([*answer.encode(), *vocabulary.tokenize(end)]) == len(answer.encode())


LLAMA = next(sample for sample in SAMPLES if sample.family == "llama3" and sample.what == "plain")
W = FunctionTool(name="w", parameters=record(c={"type": "string", "maxLength": 3}))
HEADS = [
    "{", "{", '{"', '"type"', '"name"', '"na\\u006de"', ": ", ":", ", ", ",", '"function"', '"a\\"b"',
    '"fun\\u0063tion"', '"w"', '"now"', '"x"', '{"name": "w"', '"parameters"', " ", "\n", "k ", '"', "\\", "5", "}",
    "see ", "<|python_tag|>",
]  # fmt: skip


ANY_HEAD = re.compile(r'\{\s*("type"\s*:\s*"[^"\\]*"\s*,\s*)*"name"\s*:\s*"(w|now)"')


@settings(max_examples=800, deadline=None)
@given(st.lists(st.sampled_from(HEADS), max_size=12).map("".join), st.integers(0, 999))
def test_llama_s_calls_are_where_the_grammar_has_them(begun: str, seed: int) -> None:
    demanded = demand(Toolbox([W, NOW]))
    grammars = GRAMMARS["special"]
    output = walk(
        constraint_of(LLAMA, demanded), grammars.vocabulary, random.Random(seed), limit=120, begun=list(begun.encode())
    )
    assume(output is not None)
    assert output is not None
    said = read(LLAMA, output, demanded)
    for item in said:
        assert item[0] in ("text", "call"), output
        if item[0] == "call":
            check(item, demanded.tools)
        else:
            assert not ANY_HEAD.search(item[1]), output


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ('see {"type": "a\\"b", "name": "w", "parameters": 5}', None),
        ('see {"type": "fun\\u0063tion", "name": "w", "parameters": {"c": 5}}', None),
        ('{"k {"name": "w", "parameters": {"c": "a"}}', (("text", '{"k '), ("call", "w", '{"c": "a"}'))),
        (
            '{"type": "x {"name": "w", "parameters": {"c": "a"}}',
            (("text", '{"type": "x '), ("call", "w", '{"c": "a"}')),
        ),
        ('{{"name": "w", "parameters": {"c": "a"}}', (("text", "{"), ("call", "w", '{"c": "a"}'))),
        (
            '{"name": "x {"name": "w", "parameters": {"c": "a"}}',
            (("text", '{"name": "x '), ("call", "w", '{"c": "a"}')),
        ),
    ],
)
def test_llama_s_calls_begin_at_any_brace(output: str, said: Said | None) -> None:
    demanded = demand(Toolbox([W, NOW]))
    constraint = constraint_of(LLAMA, demanded)
    for token in output.encode():
        constraint.accept(token)
    assert read(LLAMA, output, demanded) == (said or (("text", output),))
