"""The short run of `make chaos`: two minutes in all, with fixed seeds. And that the checks see what they are for."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checks import check_beginning, check_replay, check_whole, said
from tests.chaos.kinds import NETWORK_FAULTS, PROCESS_FAULTS, REDIS_FAULTS, TOOL_FAULTS
from tests.chaos.run import Plan, run
from tests.chaos.story import Story, Violation
from tests.chaos.tools import Tools

EVERY_FAULT = (*PROCESS_FAULTS, *REDIS_FAULTS, *NETWORK_FAULTS, *TOOL_FAULTS)


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("seed", "kinds"), [(7, PROCESS_FAULTS), (20, EVERY_FAULT)])
async def test_nothing_is_lost_under_faults(tmp_path: Path, seed: int, kinds: tuple[str, ...]) -> None:
    plan = Plan(seconds=45, seed=seed, kinds=list(kinds), clients=12, every=3, lease=2)
    result = await run(plan, tmp_path)
    assert result.violation is None, f"seed {seed}: {result.violation}"
    hit = [story for fault in result.faults for story in fault.hit]
    assert len({fault.kind for fault in result.faults}) >= 3
    assert len(hit) >= 10
    assert result.tally.responses >= 50
    assert result.tools is not None
    assert result.tools.outcomes["completed"]


def event(number: int, kind: str = "response.output_text.delta", **fields: Any) -> bytes:
    return json.dumps({"type": kind, "sequence_number": number, "response": {"id": "resp_1"}, **fields}).encode()


@pytest.mark.parametrize("numbers", [[0, 2], [0, 0], [1], [0, 1, 3]])
def test_a_gap_and_a_repeated_event_are_seen(numbers: list[int]) -> None:
    story = Story("numbers")
    *good, wrong = numbers
    for number in good:
        story.take(event(number))
    with pytest.raises(Violation):
        story.take(event(wrong))
    assert story.lost + story.repeated > 0


def test_an_event_after_the_end_is_seen() -> None:
    story = Story("end")
    story.take(event(0, "response.completed", response={"id": "resp_1", "status": "completed"}))
    with pytest.raises(Violation, match="after the terminal event"):
        story.take(event(1))


def test_another_answer_is_seen() -> None:
    output = [{"type": "message", "content": [{"type": "output_text", "text": "1, 2"}]}]
    story = Story("answer")
    story.final = {"status": "completed", "output": output, "usage": None}
    story.raw = [
        b'{"type": "response.completed", "sequence_number": 0, "response": %b}' % json.dumps(story.final).encode()
    ]
    with pytest.raises(Violation):
        check_whole(story, {"status": "completed", "output": [("message", "1, 2, 3")], "usage": {}})
    with pytest.raises(Violation):
        check_beginning([("message", "1, 3")], {"output": [("message", "1, 2, 3")]}, story)
    check_beginning([("message", "1, 2")], {"output": [("message", "1, 2, 3")]}, story)


KEY = "~00000000000a"


def told(status: str, name: str = "change", error: str | None = None) -> Story:
    """A stream that says how a remote call ended."""
    item = {
        "type": "mcp_call",
        "name": name,
        "arguments": json.dumps({"key": f"{KEY}-1"}),
        "status": status,
        "output": f"{name} {KEY}-1" if status == "completed" else None,
        "error": {"message": error} if error else None,
    }
    story = Story("remote-both")
    story.take(event(0, "response.output_item.done", item=item))
    return story


def called(name: str, *moments: float) -> Tools:
    tools = Tools()
    tools.begun[name, f"{KEY}-1"] += moments
    return tools


def no_faults(_: float, __: object) -> int:
    return 0


def faults(_: float, __: object) -> int:
    return 1


def test_a_call_that_is_made_twice_is_seen() -> None:
    tools = called("change", 0.0, 0.0)
    tools.take(told("completed"), faults)
    with pytest.raises(Violation, match="2 times"):
        tools.check(faults)
    tools = called("look", 0.0, 0.0)
    tools.take(told("completed", "look"), faults)
    tools.check(no_faults)  # again while it ran
    assert tools.again == 1


def test_a_call_that_is_made_after_its_end_is_seen() -> None:
    tools = called("look", 0.0)
    tools.take(told("completed", "look"), faults)
    tools.begun["look", f"{KEY}-1"].append(time.monotonic())
    with pytest.raises(Violation, match="after it had ended"):
        tools.check(no_faults)


def test_a_call_that_was_never_made_and_one_that_fails_without_reason_are_seen() -> None:
    with pytest.raises(Violation, match="never called"):
        Tools().take(told("completed"), no_faults)
    lost = told("failed", error="The worker was lost while the tool ran. It may have run.")
    called("change", 0.0).take(lost, faults)
    with pytest.raises(Violation, match="no worker was"):
        called("change", 0.0).take(lost, no_faults)
    with pytest.raises(Violation, match="failed"):
        called("look", 0.0).take(told("failed", "look", error="The worker was lost while the tool ran."), faults)
    with pytest.raises(Violation, match="failed"):
        called("change", 0.0).take(told("failed", error="timed out"), faults)


def test_a_call_cut_anywhere_is_a_beginning_of_the_whole() -> None:
    def said_of(arguments: str, key: str) -> list[tuple[str, str]]:
        return said({"output": [{"type": "mcp_call", "name": "look", "arguments": arguments.replace(KEY, key)}]})

    whole = json.dumps({"key": f"{KEY}-0"})
    undisturbed = {"output": said_of(whole, "~0123456789ab")}
    for length in range(len(whole) + 1):
        check_beginning(said_of(whole[:length], KEY), undisturbed, Story("cut"))
    with pytest.raises(Violation):
        check_beginning(said_of(whole.replace("-0", "-1"), KEY), undisturbed, Story("other"))


def test_another_replay_is_seen() -> None:
    story, again = Story("one"), Story("other")
    story.raw, again.raw = [event(0), event(1)], [event(0), event(1, delta="x")]
    with pytest.raises(Violation, match="differs at event 1"):
        check_replay(story, again)
