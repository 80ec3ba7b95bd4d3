"""Every family's recorded outputs mean the same items, whichever way the stream is cut."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.dialects.samples import SAMPLES, TOOLS, Sample, items
from workers.dialects.base import Piece
from workers.dialects.toolbox import Toolbox

Items = tuple[tuple[str, ...], ...]
BY_NAME = [pytest.param(sample, id=f"{sample.family}: {sample.what}") for sample in SAMPLES]
BREAKS = ("unknown_tool", "broken", "broken_json")  # what no grammar would let through


def read(sample: Sample, chunks: Iterable[str], *, sure: bool = False, tools: Toolbox | None = TOOLS) -> Items:
    parser = sample.dialect.parser(sample.tail, tools, sure=sure)
    pieces: list[Piece] = []
    for chunk in chunks:
        pieces += parser.feed(chunk)
    return items([*pieces, *parser.finish()])


@pytest.mark.parametrize("sample", BY_NAME)
def test_a_whole_output_is_read(sample: Sample) -> None:
    assert read(sample, [sample.output]) == sample.said


@pytest.mark.parametrize("sample", BY_NAME)
def test_one_character_at_a_time_says_the_same(sample: Sample) -> None:
    assert read(sample, sample.output) == sample.said


@pytest.mark.parametrize("sample", [p for p in BY_NAME if p.values[0].what not in BREAKS])  # type: ignore[attr-defined]
def test_arguments_that_are_passed_on_as_they_come_add_up_to_the_same(sample: Sample) -> None:
    assert read(sample, sample.output, sure=True) == sample.said
    assert read(sample, [sample.output], sure=True) == sample.said


@pytest.mark.parametrize("sample", BY_NAME)
def test_two_chunks_cut_anywhere_say_the_same(sample: Sample) -> None:
    for at in range(len(sample.output)):
        assert read(sample, [sample.output[:at], sample.output[at:]]) == sample.said, at


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_chunks_of_any_size_say_the_same(sample: Sample, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sample.output)), max_size=12)))
    bounds = [0, *cuts, len(sample.output)]
    chunks = [sample.output[a:b] for a, b in pairwise(bounds)]
    assert read(sample, chunks) == sample.said


@pytest.mark.parametrize("sample", BY_NAME)
@pytest.mark.parametrize("sure", [False, True])
def test_an_output_that_ends_anywhere_means_a_beginning(sample: Sample, sure: bool) -> None:
    """A cut gives what a longer output gives too, or text that was not yet a call: at worst it is incomplete."""
    if sure and sample.what in BREAKS:
        return
    for at in range(len(sample.output)):
        said = read(sample, [sample.output[:at]], sure=sure)
        if at % 5 == 0:
            assert read(sample, sample.output[:at], sure=sure) == said
        complete = [item for item in said if item[0] == "call"]
        assert complete == [item for item in sample.said if item[0] == "call"][: len(complete)]
        if not sure:
            assert not any(item[0] == "cut" for item in said)


@pytest.mark.parametrize("sample", BY_NAME)
def test_without_tools_nothing_is_a_call(sample: Sample) -> None:
    said = read(sample, [sample.output], tools=None)
    assert not any(item[0] in ("call", "cut") for item in said)
    assert [item for item in said if item[0] == "reasoning"] == [i for i in sample.said if i[0] == "reasoning"] or (
        sample.what == "call_ends_reasoning"
    )


def test_every_template_has_samples() -> None:
    from tests.workers.dialects.samples import TEMPLATES

    covered = {sample.dialect.name for sample in SAMPLES}
    from workers.dialects import detect

    assert {detect(path.read_text()).name for path in TEMPLATES.glob("*.jinja")} <= covered
