"""Work that grows with a conversation grows no faster than it: one request must not keep a worker for minutes."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from shared.redis.records import Turn
from shared.schema.content import InputText, ReasoningText
from shared.schema.items import Item, Message, Reasoning
from workers.conversation import conversation
from workers.dialects.repair import repaired
from workers.dialects.toolbox import Toolbox
from workers.prompt import to_messages
from workers.spelled import Spelled, _pattern


def said(*texts: str) -> Message:
    return Message(id="msg_1", role="user", content=[InputText(text=text) for text in texts])


def parts(count: int) -> Callable[[], object]:
    message = said(*["some words that make a part of a message"] * count)
    return lambda: to_messages(None, [message], Toolbox())


def reasonings(count: int) -> Callable[[], object]:
    items: list[Item] = [Reasoning(id="rs_1", content=[ReasoningText(text="y" * 400)]) for _ in range(count)]
    return lambda: to_messages(None, [*items, said("x")], Toolbox())


def neighbours(count: int) -> Callable[[], object]:
    messages = [{"role": "user", "content": "z" * 400} for _ in range(count)]
    return lambda: repaired(messages)


def turns(count: int) -> Callable[[], object]:
    ancestors = [Turn(input=[said("a")], output=[]) for _ in range(count)]
    return lambda: conversation(ancestors, [], None, "public")


@pytest.mark.parametrize(
    ("work", "count"),
    [(parts, 2000), (reasonings, 2000), (neighbours, 2000), (turns, 1000)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_sixteen_times_the_conversation_is_not_two_hundred_times_the_work(
    work: Callable[[int], Callable[[], object]], count: int
) -> None:
    assert _cost(work(16 * count)) < 60 * _cost(work(count))


def test_thousands_of_markers_cost_no_more_than_a_few() -> None:
    many = _pattern([*(f"<unused{number}>" for number in range(3000)), "[INST]"])
    few = _pattern(["<unused1>", "[INST]"])

    def spell(pattern: re.Pattern[str]) -> Callable[[], object]:
        messages = [{"role": "user", "content": "a few words <unused1> " * 2000}]
        return lambda: Spelled(pattern, pattern).messages(messages)

    assert _cost(spell(many)) < 20 * _cost(spell(few))


@pytest.mark.parametrize("seed", range(50))
def test_a_marker_is_found_wherever_it_begins(seed: int) -> None:
    rng = random.Random(seed)
    markers = {"".join(rng.choices("<|>a]\n", k=rng.randrange(1, 6))) for _ in range(rng.randrange(12))}
    text = "".join(rng.choices("<|>a]\n", k=300))
    begins = [at for at in range(len(text)) if any(len(one) > 1 and text.startswith(one, at) for one in markers)]
    assert [match.span() for match in _pattern(markers).finditer(text)] == [(at, at + 1) for at in begins]


def test_neighbours_become_one_message() -> None:
    def message(role: str, content: str, **more: Any) -> dict[str, Any]:
        return {"role": role, "content": content, **more}

    call, output = message("assistant", "", tool_calls=[{}]), message("tool", "o")
    given = [message("system", "s"), *(message("user", one) for one in "ab"), message("assistant", "")]
    given += [message("user", "c"), call, output, call, output, message("assistant", "d", thinking="t")]
    given += [message("assistant", "e"), message("user", "f")]
    assert repaired(given) == [
        given[0], message("user", "a\n\nb\n\nc"), call, output, call, output,
        message("assistant", "d\n\ne", thinking="t"), message("user", "f"),
    ]  # fmt: skip


def _cost(work: Callable[[], object]) -> float:
    """Seconds of this thread's computing, at best."""
    costs = []
    for _ in range(5):
        started = time.thread_time()
        work()
        costs.append(time.thread_time() - started)
    return min(costs)
