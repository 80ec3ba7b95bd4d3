"""What a WebSocket remembers: each turn once, as long as something needs it."""

from __future__ import annotations

from api.memory import MOST_REMEMBERED, Memory, Turn
from shared.schema.content import InputText
from shared.schema.items import Item, Message


def turn(text: str, before: Turn | None = None, size: int = 100) -> Turn:
    items: list[Item] = [Message(id="msg_1", role="user", content=[InputText(text=text)])]
    whole = size + (before.bytes if before else 0)
    return Turn(before=before, input=items, output=[], stored=[], opening=None, text_bytes=0, bytes=whole)


def texts(turn: Turn | None) -> str:
    assert turn
    return "".join(
        part.text
        for item in turn.chain().inherited
        if isinstance(item, Message)
        for part in item.content
        if isinstance(part, InputText)
    )


def test_a_chain_costs_what_its_turns_cost() -> None:
    memory = Memory(1000)
    last = None
    for name in "abcdefghij":
        memory.keep(name, last := turn(name, last))
    assert memory.bytes == 1000
    assert texts(memory.get("j")) == "abcdefghij"
    memory.keep("fork", turn("x", memory.get("b")))  # the oldest go until there is room, which is the whole chain
    assert memory.get("j") is None
    assert texts(memory.get("fork")) == "abx"
    assert memory.bytes == 300


def test_what_a_later_turn_needs_stays() -> None:
    memory = Memory(10**6)
    last = turn("first")
    memory.keep("first", last)
    for number in range(2 * MOST_REMEMBERED):
        memory.keep(str(number), last := turn("+", last))
    assert memory.get("first") is None
    assert memory.bytes == 100 * (1 + 2 * MOST_REMEMBERED)
    assert texts(last).startswith("first+")
    for number in range(MOST_REMEMBERED):
        memory.keep(f"other{number}", turn("other"))
    assert memory.bytes == 100 * MOST_REMEMBERED


def test_a_turn_whose_parent_was_forgotten_meanwhile_counts_with_it() -> None:
    memory = Memory(450)
    memory.keep("parent", parent := turn("parent", size=200))
    memory.keep("other", turn("other", size=300))
    assert memory.get("parent") is None
    assert memory.bytes == 300
    memory.keep("child", turn("child", parent))
    assert memory.get("other") is None
    assert memory.bytes == 300
    assert texts(memory.get("child")) == "parentchild"


def test_a_chain_that_is_too_much_is_not_remembered_and_nothing_goes_for_it() -> None:
    memory = Memory(250)
    memory.keep("a", a := turn("a"))
    memory.keep("b", b := turn("b", a))
    memory.keep("c", turn("c", b))
    assert memory.get("c") is None
    assert (texts(memory.get("a")), texts(memory.get("b"))) == ("a", "ab")


def test_one_turn_is_always_remembered() -> None:
    memory = Memory(250)
    memory.keep("small", turn("small"))
    memory.keep("large", turn("large", size=1000))
    assert memory.get("small") is None
    assert texts(memory.get("large")) == "large"
    memory.keep("small", turn("small"))
    assert memory.get("large") is None
    assert memory.bytes == 100


def test_a_very_long_chain_can_be_read_and_forgotten() -> None:
    memory = Memory(10**9)
    last = None
    for _ in range(100_000):
        last = turn("x", last)
    assert last
    memory.keep("last", last)
    assert len(texts(last)) == 100_000
    del last
    for number in range(MOST_REMEMBERED):
        memory.keep(str(number), turn("other"))
    assert memory.bytes == 100 * MOST_REMEMBERED
