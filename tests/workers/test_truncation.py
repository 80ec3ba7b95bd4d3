"""What is dropped of a conversation that does not fit, and what never is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.schema.content import InputText
from shared.schema.items import FunctionCall, FunctionCallOutput, McpCall, Message, Reasoning
from workers.truncation import AnyItem, truncate


def said(name: str, role: Literal["user", "system", "assistant"] = "user") -> Message:
    return Message(id=name, role=role, content=[InputText(text=name)])


def remote(name: str) -> McpCall:
    return McpCall(id=name, server_label="docs", name="look", arguments="{}", output="x")


def call(name: str) -> list[AnyItem]:
    return [
        FunctionCall(id=name, call_id=name, name="look", arguments="{}"),
        FunctionCallOutput(id=f"{name}'", call_id=name, output="x"),
    ]


async def kept(items: Sequence[AnyItem], most: int) -> str:
    async def fits(rest: Sequence[AnyItem]) -> bool:
        return len(rest) <= most

    return " ".join(str(item.id) for item in await truncate(items, fits))


EARLIER = [said("rules", "system"), said("q0"), said("a0", "assistant")]


@pytest.mark.parametrize(
    ("most", "left"),
    [
        (8, "rules q0 a0 q1 m1 m2 m3 m4"),
        (7, "rules a0 q1 m1 m2 m3 m4"),
        (6, "rules q1 m1 m2 m3 m4"),
        (5, "rules q1 m2 m3 m4"),
        (3, "rules q1 m4"),
        (1, "rules q1 m4"),
    ],
)
async def test_the_last_question_stays_and_the_oldest_calls_behind_it_go(most: int, left: str) -> None:
    assert await kept([*EARLIER, said("q1"), *map(remote, ("m1", "m2", "m3", "m4"))], most) == left


async def test_a_call_goes_with_its_output() -> None:
    items = [said("q"), *call("c1"), *call("c2"), *call("c3")]
    assert [await kept(items, most) for most in (6, 5, 4, 1)] == ["q c2 c2' c3 c3'"] * 2 + ["q c3 c3'"] * 2
    (one, one_out), (two, two_out) = call("c1"), call("c2")
    assert await kept([said("q"), one, two, one_out, two_out], 4) == "q c1 c2 c1' c2'"


async def test_reasoning_goes_with_what_it_led_to() -> None:
    items = [said("q"), Reasoning(id="r1"), remote("m1"), Reasoning(id="r2"), remote("m2")]
    assert await kept(items, 4) == "q r2 m2"


async def test_without_a_question_the_last_item_stays() -> None:
    assert await kept([*call("c1"), *call("c2")], 1) == "c2 c2'"
    assert await kept([said("q"), *call("c1"), said("late")], 2) == "late"
    assert await kept([said("q"), *call("c1"), said("late")], 3) == "c1 c1' late"


@given(
    st.lists(st.sampled_from(["user", "assistant", "system", "call", "remote", "reasoning"]), max_size=12), st.data()
)
async def test_whatever_comes_in_is_dropped_by_these_rules(kinds: list[str], data: st.DataObject) -> None:
    items: list[AnyItem] = []
    for n, kind in enumerate(kinds):
        name = f"i{n}"
        match kind:
            case "user" | "assistant" | "system":
                items.append(said(name, kind))
            case "call":
                items += call(name)
            case _:
                items.append(remote(name) if kind == "remote" else Reasoning(id=name))
    most = data.draw(st.integers(0, len(items)))
    left = (await kept(items, most)).split()
    names = [str(item.id) for item in items]
    assert left == [name for name in names if name in left]
    questions = [str(item.id) for item in items if isinstance(item, Message) and item.role == "user"]
    assert questions[-1:] == [name for name in left if name in questions[-1:]]
    assert all(str(item.id) in left for item in items if isinstance(item, Message) and item.role == "system")
    outputs = [name for name in left if name.endswith("'")]
    assert all(name.rstrip("'") in left for name in outputs)
    assert names[-1:] == left[-1:]
