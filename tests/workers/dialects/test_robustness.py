"""Whatever a model writes, a parser takes it: nothing raises, nothing is lost, and it takes linear work."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.dialects.samples import SAMPLES, TOOLS, Sample
from workers.dialects.base import Piece

DIALECTS = list({sample.dialect.name: sample for sample in SAMPLES}.values())
FRAGMENTS = [
    "<think>", "</think>", "<tool_call>", "</tool_call>", "{", "}", "[", "]", '"', "\\", "\n", " ", ":", ",",
    "=", "(", ")", "name", '"name"', "now", "get_weather", "apply_patch", "arguments", "parameters",
    '{"name": "now", "arguments": ', "<function=now>", "<parameter=city>", "</parameter>", "</function>",
    "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", '<invoke name="now">', "</invoke>",
    "<minimax:tool_call>", "</minimax:tool_call>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[THINK]", "[/THINK]",
    "<|channel|>", "<|message|>", "analysis", "final", "commentary", " to=functions.now", "<|end|>",
    "<|start|>", "assistant", "<|call|>", "<|tool_call>", "<tool_call|>", "call:now{", '<|"|>', "<channel|>",
    "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "```json",
    "<｜DSML｜function_calls>", '<｜DSML｜invoke name="now">', "<|tool_calls_section_begin|>",
    "<|tool_call_begin|>", "functions.now:0", "<|tool_call_argument_begin|>", "<|tool_call_start|>", "now(",
    "<|START_ACTION|>", "<|tool_call|>", "<seed:tool_call>", "'", "12", "null", "é", "😀", "\u0000", "\ud83d",
]  # fmt: skip


def run(sample: Sample, chunks: list[str], *, sure: bool) -> list[Piece]:
    parser = sample.dialect.parser(sample.tail, TOOLS, sure=sure)
    pieces = [piece for chunk in chunks for piece in parser.feed(chunk)]
    return [*pieces, *parser.finish(), *parser.finish()]


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(DIALECTS), st.lists(st.sampled_from(FRAGMENTS), max_size=40), st.booleans())
def test_markers_in_any_order_never_raise(sample: Sample, fragments: list[str], sure: bool) -> None:
    run(sample, fragments, sure=sure)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(DIALECTS), st.binary(max_size=200))
def test_random_bytes_are_text(sample: Sample, data: bytes) -> None:
    words = data.decode("latin-1")
    pieces = run(sample, list(words), sure=False)
    assert "".join(piece.text for piece in pieces).strip("\r\n ") == words.strip("\r\n ")


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(DIALECTS), st.lists(st.sampled_from(FRAGMENTS), max_size=25))
def test_cutting_does_not_matter_for_broken_output_either(sample: Sample, fragments: list[str]) -> None:
    output = "".join(fragments)

    def said(chunks: list[str]) -> list[tuple[str, str]]:
        merged: list[tuple[str, str]] = []
        for piece in run(sample, chunks, sure=False):
            if merged and merged[-1][0] == piece.kind and piece.kind in ("text", "reasoning", "arguments"):
                merged[-1] = (piece.kind, merged[-1][1] + piece.text)
            else:
                merged.append((piece.kind, piece.text))
        return merged

    assert said([output]) == said(list(output)) == said(fragments)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.family}: {sample.what}")
def test_a_broken_call_is_text_whole(sample: Sample) -> None:
    """Without tools of these names the whole output is text or reasoning, but for the format's line breaks."""
    from shared.schema.tools import FunctionTool
    from workers.dialects.toolbox import Toolbox

    other = Toolbox([FunctionTool(name="something_else")])
    parser = sample.dialect.parser(sample.tail, other)
    pieces = [*parser.feed(sample.output), *parser.finish()]
    assert all(piece.kind in ("text", "reasoning") for piece in pieces)
    said = "".join(piece.text for piece in pieces).replace("\n", "").replace(" ", "")
    for word in ("Oslo", "get_weather", "apply_patch", "now", "Begin"):
        if word in sample.output.replace(" ", ""):
            assert word in said


HOSTILE = {
    "line breaks": "\n",
    "angle brackets": "<",
    "spaces": " ",
    "a marker": "<tool_call>",
    "half a marker": "<tool_cal",
    "braces": "{",
    "closed braces": '{"name": "now", "arguments": {}}',
    "heads": '{"type": "{", ',
    "heads in strings": '{"type":"{","name":"',
    "calls in calls": '{"name": "now", "parameters": ',
    "backslashes": '{"name": "\\',
    "quotes": '"',
    "thinking": "<think>",
    "no thinking": "</think>",
    "harmony": "<|channel|>analysis<|message|>",
    "mistral": "[TOOL_CALLS]",
    "deepseek": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
    "xml": "<tool_call>\n<function=get_weather>\n<parameter=city>\n",
    "gemma": "<|tool_call>call:now{a:[",
    "lfm": "<|tool_call_start|>[now(a=[",
}


def work(sample: Sample, output: str, size: int) -> int:
    """Lines of Python that parsing takes, counted by the interpreter."""
    lines = 0

    def count(frame: object, event: str, argument: object) -> object:
        nonlocal lines
        lines += event == "line"
        return count

    parser = sample.dialect.parser(sample.tail, TOOLS)
    sys.settrace(count)  # type: ignore[arg-type]
    try:
        for at in range(0, len(output), size):
            parser.feed(output[at : at + size])
        parser.finish()
    finally:
        sys.settrace(None)
    return lines


@pytest.mark.parametrize("sample", DIALECTS, ids=lambda sample: sample.dialect.name)
@pytest.mark.parametrize(("size", "length"), [(1, 200), (100_000, 2000)])
def test_work_grows_with_the_length_of_the_output(sample: Sample, size: int, length: int) -> None:
    for what, hostile in HOSTILE.items():
        few = work(sample, (hostile * length)[:length], size)
        many = work(sample, (hostile * 4 * length)[: 4 * length], size)
        assert many <= few * 4 * 1.3 + 2000, what


@pytest.mark.parametrize("sample", DIALECTS, ids=lambda sample: sample.dialect.name)
def test_nothing_piles_up_that_is_looked_at_again(sample: Sample) -> None:
    """What a parser keeps unread stays short, so that each new token costs the same."""
    for hostile in HOSTILE.values():
        parser = sample.dialect.parser(sample.tail, TOOLS)
        output = (hostile * 1500)[:1500]
        for at in range(0, len(output), 3):
            parser.feed(output[at : at + 3])
            assert len(parser.source._text) < 600  # type: ignore[attr-defined]
