"""How many tokens are told as reasoning: exactly those of the thinking and its markers, in every family."""

from __future__ import annotations

import random

import pytest

from shared.emitter import Emitter
from shared.schema.response import Response
from tests.workers.dialects.samples import TEMPLATES, TOOLS, items
from tests.workers.dialects.thinkers import OTHERS, THINKERS, Thinker, compiled
from workers.counts import Counts
from workers.dialects import detect
from workers.dialects.toolbox import Toolbox
from workers.engine.core import Chunk
from workers.engine.scripted import ScriptedEngine
from workers.reader import Reader

EACH = pytest.mark.parametrize("thinker", THINKERS, ids=lambda thinker: thinker.name)
THOUGHT = "Is 2 < 3? </ü😀\n\nYes."
ANSWER = "Yes, it is. 😀"
Part = tuple[str, bool]
"""Something a model writes, and whether it belongs to the thinking."""


class Written:
    """An output in tokens that are cut at random, also inside markers and characters, but not across parts."""

    def __init__(self, parts: list[Part], seed: int) -> None:
        rng = random.Random(seed)
        self.engine = ScriptedEngine()
        self.tokens: list[int] = []
        self.thought: list[bool] = []
        self.ends: list[int] = []  # behind which token each part ends
        for text, thought in parts:
            data = text.encode()
            while data:
                size = rng.choice((1, 2, 3, 5, 8))
                self.tokens.append(self.engine._token(data[:size]))
                self.thought.append(thought)
                data = data[size:]
            self.ends.append(len(self.tokens))

    def read(self, thinker: Thinker, upto: int, tools: Toolbox | None, replayed: int = 0) -> Counts:
        counts = Counts()
        response = Response(id="resp_1", created_at=1, status="in_progress", model="m", temperature=1.0, top_p=1.0)
        parser = thinker.dialect.parser(thinker.prompt, tools)
        reader = Reader(self.engine, parser, Emitter(response, 0), counts, tools)
        reader.replay(self.tokens[:replayed])
        for token in self.tokens[replayed:upto]:
            reader.read(Chunk((token,)))
        reader.finish()
        assert counts.output == upto
        return counts


def told(thinker: Thinker, parts: list[Part], seed: int) -> None:
    """The output is told right, wherever `max_output_tokens` may cut it and wherever another worker goes on with it.

    An opening marker that is cut has opened nothing.
    """
    written = Written(parts, seed)
    opened = written.ends[0]
    for upto in range(len(written.tokens) + 1):
        thought = sum(written.thought[:upto]) if upto >= opened else 0
        assert written.read(thinker, upto, TOOLS).reasoning == thought, (upto, parts)
        replayed = random.Random(upto).randint(0, upto)
        assert written.read(thinker, upto, TOOLS, replayed).reasoning == thought


def thinking(thinker: Thinker, thought: str = THOUGHT) -> list[Part]:
    end, between = thinker.end
    return [(thinker.opening, True), (thought, True), (end, True), (between, False)]


@EACH
def test_thinking_and_its_markers_are_counted_and_nothing_else(thinker: Thinker) -> None:
    for seed in range(3):
        told(thinker, [*thinking(thinker), (thinker.head + ANSWER, False)], seed)


@EACH
def test_a_call_behind_the_thinking_is_not_counted(thinker: Thinker) -> None:
    parts = [*thinking(thinker), (thinker.call, False)]
    for seed in range(3):
        told(thinker, parts, seed)
    parser = thinker.dialect.parser(thinker.prompt, TOOLS)
    said = items([*parser.feed("".join(text for text, _ in parts)), *parser.finish()])
    assert [item[0] for item in said] == ["reasoning", "call"]


@pytest.mark.parametrize("thinker", [t for t in THINKERS if t.calls_end_thinking], ids=lambda thinker: thinker.name)
def test_a_call_that_ends_the_thinking_is_not_counted(thinker: Thinker) -> None:
    for seed in range(10):
        written = Written([(thinker.opening + THOUGHT, True), (thinker.call, False)], seed)
        assert written.read(thinker, len(written.tokens), TOOLS).reasoning == sum(written.thought)


@EACH
def test_words_that_close_the_thinking_early_are_part_of_it(thinker: Thinker) -> None:
    end, between = thinker.end
    parts = [(thinker.opening, True), (THOUGHT, True), (thinker.dialect.early_words + end, True), (between, False)]
    told(thinker, [*parts, (thinker.head + ANSWER, False)], 1)


@EACH
def test_an_answer_without_thinking_has_none(thinker: Thinker) -> None:
    variables = thinker.dialect.template_variables("none")
    prompt = compiled(thinker.name).render([{"role": "user", "content": "Hello"}], variables)
    parser = thinker.dialect.parser(prompt, TOOLS)
    if parser.reasoning:
        end, between = thinker.end  # the template opens it whatever is asked: it is closed at once
        told(thinker, [("", True), (end, True), (between + ANSWER, False)], 1)
        return
    counts = Counts()
    written = Written([(thinker.head + ANSWER, False)], 1)
    response = Response(id="resp_1", created_at=1, status="in_progress", model="m", temperature=1.0, top_p=1.0)
    reader = Reader(written.engine, parser, Emitter(response, 0), counts)
    for token in written.tokens:
        reader.read(Chunk((token,)))
    reader.finish()
    assert (counts.reasoning, counts.output) == (0, len(written.tokens))


@pytest.mark.parametrize("template", OTHERS)
def test_models_that_do_not_think_have_none(template: str) -> None:
    dialect = detect((TEMPLATES / f"{template}.jinja").read_text())
    prompt = compiled(template).render([{"role": "user", "content": "Hello"}], dialect.template_variables("high"))
    counts = Counts()
    written = Written([(ANSWER, False)], 1)
    response = Response(id="resp_1", created_at=1, status="in_progress", model="m", temperature=1.0, top_p=1.0)
    reader = Reader(written.engine, dialect.parser(prompt, TOOLS), Emitter(response, 0), counts)
    for count, token in enumerate(written.tokens, 1):
        reader.read(Chunk((token,)))
        assert (counts.reasoning, counts.output) == (0, count)


def test_several_thoughts_of_one_answer_add_up() -> None:
    [harmony] = [thinker for thinker in THINKERS if thinker.dialect.name == "harmony"]
    one = thinking(harmony)
    for seed in range(5):
        written = Written([*one, *one, ("<|channel|>commentary<|message|>Look.<|end|><|start|>assistant", False), *one,
                           (harmony.head + ANSWER, False)], seed)  # fmt: skip
        counts = written.read(harmony, len(written.tokens), TOOLS)
        assert counts.reasoning == sum(written.thought)
