"""The short run of `make chaos`: two minutes in all, with fixed seeds. And that the checks see what they are for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checks import check_beginning, check_replay, check_whole
from tests.chaos.kinds import NETWORK_FAULTS, PROCESS_FAULTS, REDIS_FAULTS, TOOL_FAULTS
from tests.chaos.run import Plan, run
from tests.chaos.story import Story, Violation


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
    assert result.tools.outcomes["completed"] >= 10


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


def test_another_replay_is_seen() -> None:
    story, again = Story("one"), Story("other")
    story.raw, again.raw = [event(0), event(1)], [event(0), event(1, delta="x")]
    with pytest.raises(Violation, match="differs at event 1"):
        check_replay(story, again)
