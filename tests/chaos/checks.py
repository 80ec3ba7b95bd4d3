"""What must hold of every answer, judged from what clients were given."""

from __future__ import annotations

from typing import Any

from tests.chaos.story import Event, Story, Violation
from tests.chaos.tools import without_keys
from tests.wire import check_items

Answer = dict[str, Any]

GIVEN_UP = "The response was given up"
TRIES = 3  # after so many lost workers a response may be given up


def answer_of(response: Event) -> Answer:
    """What a response says, without its ids: the same for every greedy run of the same request."""
    usage = dict(response["usage"] or {})
    usage.pop("input_tokens_details", None)  # what a cache held is no part of the answer
    return {"status": response["status"], "output": said(response), "usage": usage}


def _as_generated(answer: Answer) -> Answer:
    """Without the tokens that were read."""
    return {**answer, "usage": {**answer["usage"], "input_tokens": None, "total_tokens": None}}


def said(response: Event) -> list[tuple[str, str]]:
    """Each item as its kind and all its text."""
    return [(item["type"], _text(item)) for item in response["output"]]


def _text(item: Event) -> str:
    match item["type"]:
        case "mcp_list_tools":
            return ", ".join(tool["name"] for tool in item["tools"])
        case "mcp_call":
            return without_keys(f"{item['name']} {item['arguments']}")
    return item.get("arguments") or item.get("input") or "".join(part["text"] for part in item.get("content") or [])


def check_whole(story: Story, undisturbed: Answer) -> None:
    """A stream that ended by itself: well formed, and what an undisturbed run says. Raises Violation."""
    check_form(story)
    assert story.final is not None
    found = answer_of(story.final)
    if any(item["type"] == "mcp_call" and item["error"] for item in story.final["output"]):
        found, undisturbed = _as_generated(found), _as_generated(undisturbed)  # the model has read something else
    if found != undisturbed:
        raise Violation(f"the answer is not that of an undisturbed run:\n{found}\n{undisturbed}", story)


def check_part(story: Story, undisturbed: Answer) -> None:
    """A stream that may have been ended early: well formed, and a beginning of the undisturbed answer."""
    check_form(story)
    assert story.final is not None
    if story.final["status"] == "completed":
        check_whole(story, undisturbed)
        return
    if story.final["status"] not in ("cancelled", "incomplete"):
        raise Violation(f"ended as {story.final['status']}: {story.final['error']}", story)
    check_beginning(said(story.final), undisturbed, story)


def check_beginning(found: list[tuple[str, str]], undisturbed: Answer, story: Story) -> None:
    """Raises Violation where `found` is not how the undisturbed answer begins."""
    whole = undisturbed["output"]
    full, part = found[:-1], found[-1:]
    begins = full == whole[: len(full)] and all(
        kind == whole[len(full)][0] and whole[len(full)][1].startswith(text) for kind, text in part
    )
    if not begins:
        raise Violation(f"this is not how the undisturbed answer begins:\n{found}\n{whole}", story)


def check_form(story: Story) -> None:
    """Deltas, done events, items and the final output say the same. Raises Violation."""
    try:
        check_items(story.events())
    except (AssertionError, KeyError, IndexError) as error:
        raise Violation(f"the stream contradicts itself: {error!r}", story) from error


def check_stored(story: Story, stored: Event) -> None:
    """What is stored is what the terminal event said. Raises Violation."""
    if stored != story.final:
        raise Violation(f"stored is\n{stored}\nstreamed was\n{story.final}", story)


def check_replay(story: Story, again: Story) -> None:
    """The log, read again from 0, is byte for byte what was streamed. Raises Violation."""
    if again.raw != story.raw:
        pairs = enumerate(zip(story.raw, again.raw, strict=False))
        at = next((n for n, (one, other) in pairs if one != other), min(len(story.raw), len(again.raw)))
        raise Violation(
            f"a replay differs at event {at} ({len(story.raw)} and {len(again.raw)} events):\n"
            f"{story.raw[at : at + 1]}\n{again.raw[at : at + 1]}",
            story,
        )
