"""The generator of the demo model's data."""

import random

import pytest

from models.pipeline.conversations import dice, words
from models.pipeline.conversations.conversation import EFFORTS, Conversation, Thought
from models.pipeline.conversations.dice import Dice
from models.pipeline.conversations.mix import sample
from models.pipeline.conversations.numbers import PRIMES, working
from models.pipeline.packing import DIALECTS, cut


def conversations(count: int, seed: int, held_out: bool = False) -> list[Conversation]:
    d = Dice(random.Random(seed), held_out)
    return [sample(d) for _ in range(count)]


@pytest.mark.parametrize("held_out", [False, True])
def test_thousands_of_conversations_are_well_formed(held_out: bool) -> None:
    for conversation in conversations(2500, 11, held_out):
        assert conversation.effort in EFFORTS
        previous = "assistant"
        names = {tool["name"] for tool in conversation.tools}
        for message in conversation.messages:
            if message.role == "user":
                assert previous == "assistant"
                assert message.content.strip()
            elif message.role == "assistant":
                assert previous in ("user", "tool")
                assert bool(message.calls) != bool(message.content)
                assert {c.name for c in message.calls} <= names
                assert bool(message.reasoning) == (conversation.effort != "none")
            previous = message.role
        assert previous == "assistant"


def test_calls_fit_the_schemas_of_their_tools() -> None:
    for conversation in conversations(1500, 12):
        parameters = {tool["name"]: tool.get("parameters", {}) for tool in conversation.tools}
        for call in (c for m in conversation.messages for c in m.calls):
            schema = parameters[call.name]
            assert set(call.arguments) <= set(schema.get("properties", {}))
            assert set(schema.get("required", [])) <= set(call.arguments)


def test_the_same_seed_gives_the_same_conversations() -> None:
    assert conversations(50, 3) == conversations(50, 3)
    assert conversations(50, 3) != conversations(50, 4)


@pytest.mark.parametrize("held_out", [False, True])
def test_made_up_words_are_never_rude(held_out: bool) -> None:
    d = Dice(random.Random(5), held_out)
    made = [d.pseudo(1, 3) for _ in range(8000)] + [d.ident() for _ in range(4000)]
    assert not [word for word in made if dice.is_rude(word)]


def test_training_never_sees_a_word_of_the_evaluation() -> None:
    seen, unseen = Dice(random.Random(6)), Dice(random.Random(6), held_out=True)
    assert not {seen.pseudo(2, 3) for _ in range(5000)} & {unseen.pseudo(2, 3) for _ in range(5000)}
    assert not set(words.CITIES) & set(words.UNSEEN_CITIES)
    assert not set(words.NAMES) & set(words.UNSEEN_NAMES)


def test_effort_sets_the_length_of_the_reasoning() -> None:
    thought = Thought("do a calculation", "a sum", working(47, "*", 2))
    lengths = [len(thought.write(effort).split()) for effort in EFFORTS]
    assert lengths[0] == 0
    assert lengths == sorted(lengths)
    assert lengths[3] > 2 * lengths[2] > 4 * lengths[1]


@pytest.mark.parametrize("op", "+-*")
def test_the_working_of_a_sum_ends_with_its_result(op: str) -> None:
    for a in range(0, 100, 7):
        for b in range(0, a + 1, 5):
            result = {"+": a + b, "-": a - b, "*": a * b}[op]
            assert working(a, op, b)[-1].endswith(f" is {result}.")


def test_primes_are_prime() -> None:
    assert PRIMES[:10] == [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]
    assert 47 in PRIMES
    assert 49 not in PRIMES


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())
def test_every_conversation_teaches_something_and_ends_a_turn(dialect) -> None:
    d = Dice(random.Random(8))
    for _ in range(800):
        segments = dialect.render(cut(d, dialect.unroll(sample(d))))
        taught = [text for text, learned in segments if learned in (1, 2)]
        assert taught
        assert taught[-1].endswith(("<|im_end|>", "<|return|>", "<|call|>"))
