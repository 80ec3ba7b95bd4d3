"""Thinking that has used up its budget is closed as the family's template would close it, and the answer follows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import count, cycle

import pytest

from shared.schema.tools import FunctionTool
from tests.workers.dialects.samples import items
from tests.workers.dialects.thinkers import THINKERS, Thinker, compiled
from tests.workers.dialects.walks import MARKERS, vocabulary
from workers.dialects.history import assistant, output
from workers.dialects.toolbox import Toolbox
from workers.grammar.constraint import GRACE, OutputConstraint
from workers.grammar.grammars import Demand, Grammars, demand

EACH = pytest.mark.parametrize(
    "thinker", [thinker for thinker in THINKERS if thinker.dialect.name != "harmony"], ids=lambda thinker: thinker.name
)
LINES = "First this.\n\nOr\nthat, 😀?\n\n\nüü - - so it goes on for a while and on and on </ and < on!\n"
ANSWER = "It is 4."
SCHEMA = {"type": "object", "properties": {"n": {"const": 4}}, "required": ["n"], "additionalProperties": False}
LOOK = FunctionTool(name="look", parameters={"type": "object", "properties": {"x": {"type": "string"}}})
GRAMMARS = Grammars(vocabulary(MARKERS, [".\n", ".\n\n", "?\n", "!\n", "\n\n\n", "ü"]))
KNOWN = GRAMMARS.vocabulary
BUDGETS = range(4, 80, 2)


def thought_until_closed(thinker: Thinker, budget: int, asked: Demand) -> tuple[list[int], OutputConstraint, int]:
    """The tokens of a model that would think for ever, the last of them not its own; and how many were its own."""
    made = GRAMMARS.constraint(thinker.dialect, asked, thinker.prompt, thinking_tokens=budget)
    assert made is not None
    tokens: list[int] = []

    def take(taken: list[int]) -> None:
        for token in taken:
            made.accept(token)
        tokens.extend(taken)

    endless = KNOWN.tokenize(thinker.opening) + KNOWN.tokenize(LINES * 20)
    for own, token in zip(count(), cycle(endless)):
        others = list(made.instead(token))
        take(others or [token])
        if not others and made.free:
            others = list(made.forced_tokens())
            take(others)
        if others:
            return tokens, made, own
        assert own < 2 * budget + len(KNOWN.tokenize(thinker.opening)), KNOWN.tokenizer.decode_str(tokens)
    raise AssertionError


@cache
def closed(thinker: Thinker) -> list[tuple[int, list[int], int]]:
    return [
        (budget, tokens, own)
        for budget in BUDGETS
        for tokens, _, own in [thought_until_closed(thinker, budget, demand(Toolbox()))]
    ]


def read(thinker: Thinker, text: str) -> tuple[tuple[str, ...], ...]:
    parser = thinker.dialect.parser(thinker.prompt)
    return items([piece for char in text for piece in parser.feed(char)] + parser.finish())


@EACH
def test_the_answer_follows_and_no_marker_is_seen(thinker: Thinker) -> None:
    words = thinker.dialect.early_words
    for budget, tokens, own in closed(thinker):
        text = KNOWN.tokenizer.decode_str(tokens)
        (kind, thought), answer = read(thinker, text + ANSWER)
        assert (kind, answer) == ("reasoning", ("text", ANSWER)), text
        assert thought.endswith(words), thought
        said = thought.removesuffix(words)
        assert (LINES * 20).startswith(said), said
        assert "�" not in said
        most = len(KNOWN.tokenize(thinker.opening)) + budget + budget // GRACE
        assert own <= most + 4, text  # a character has up to four tokens


@EACH
def test_the_end_of_a_line_is_preferred(thinker: Thinker) -> None:
    endless = KNOWN.tokenize(thinker.opening) + KNOWN.tokenize(LINES * 20)
    parser = thinker.dialect.parser(thinker.prompt)
    thoughts = []  # the places of the tokens that count
    for place, token in enumerate(endless):
        parser.feed(KNOWN.tokenizer.decode_str([token]))
        thoughts += [place] if parser.reasoning else []
    lines = [place for place in thoughts if KNOWN.tokenizer.decode_bytes([endless[place]]).endswith(b"\n")]
    lines = [place for place in lines if place - 1 not in lines]
    met = 0
    for budget, _, own in closed(thinker):
        first, last = thoughts[budget - 1], thoughts[budget - 1 + budget // GRACE]
        if near := [place for place in lines if first <= place <= last]:
            assert own == near[0]
            met += 1
    assert met > 2


def kept(thinker: Thinker) -> bool:
    """Whether the template shows the thinking that led to a call."""
    return "MARK" in after_a_call(thinker, "MARK")


def after_a_call(thinker: Thinker, thought: str) -> str:
    """The prompt of the turn that follows a call without any words."""
    variables = thinker.dialect.template_variables("high")
    calls = [("abcdefgh0", "look", {"x": "y"})]
    heard = [assistant("", reasoning=thought, calls=calls), output("abcdefgh0", "look", "A hill.")]
    messages, tools = thinker.dialect.prepare(
        [{"role": "user", "content": "Hello"}, *heard], Toolbox([LOOK]), thinker.traits
    )
    return compiled(thinker.name).render(messages, {**variables, **({"tools": tools} if tools else {})})


def before_a_call(thinker: Thinker) -> str:
    variables = thinker.dialect.template_variables("high")
    messages, tools = thinker.dialect.prepare([{"role": "user", "content": "Hello"}], Toolbox([LOOK]), thinker.traits)
    return compiled(thinker.name).render(messages, {**variables, **({"tools": tools} if tools else {})})


KEEPERS = [thinker for thinker in THINKERS if thinker.dialect.name != "harmony" and kept(thinker)]


def test_most_templates_show_the_thinking_that_led_to_a_call() -> None:
    assert len(KEEPERS) >= 11


@pytest.mark.parametrize("thinker", KEEPERS, ids=lambda thinker: thinker.name)
def test_what_the_context_holds_is_how_the_next_prompt_begins(thinker: Thinker) -> None:
    """Token by token, so that all of it is found in the KV cache."""
    prompt = before_a_call(thinker)
    start = KNOWN.tokenize(prompt)
    opening = "\n" if thinker.name == "GLM-4.6" else ""  # the template writes a line break that its prompt leaves out
    exact = 0
    for _, tokens, _ in closed(thinker):
        [(_, thought)] = read(thinker, KNOWN.tokenizer.decode_str(tokens))
        following = after_a_call(thinker, thought)
        assert following.startswith(prompt + opening)
        following = following.replace(prompt + opening, prompt, 1)
        written = KNOWN.tokenizer.decode_str(tokens)
        if following.startswith(prompt + written):  # what comes behind the marker depends on what follows it
            held = start + tokens[: -len(KNOWN.tokenize(thinker.end[1])) or None]
            assert KNOWN.tokenize(following)[: len(held)] == held
            exact += 1
    assert exact >= len(closed(thinker)) - 3  # a budget may end between two line breaks


def outcomes(thinker: Thinker) -> Iterator[tuple[str, tuple[tuple[str, ...], ...]]]:
    """Under a grammar that wants JSON behind the thinking."""
    for budget in (4, 9, 17, 40, 71):
        tokens, made, _ = thought_until_closed(thinker, budget, demand(Toolbox(), format=SCHEMA))
        for token in KNOWN.tokenize('{"n": 4}'):
            made.accept(token)
        assert made.finished or not made.forced_tokens()
        text = KNOWN.tokenizer.decode_str(tokens) + '{"n": 4}'
        yield text, read(thinker, text)


@EACH
def test_the_grammar_of_the_answer_goes_on_behind_it(thinker: Thinker) -> None:
    for text, said in outcomes(thinker):
        assert [item[0] for item in said] == ["reasoning", "text"], text
        assert said[1] == ("text", '{"n": 4}')
