"""Who is taken to be gone: what a slow look at Redis says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from redis.asyncio import Redis

from workers import attendance
from workers.attendance import Attendance

GRACE = 2.0
FRONT = "front_1"


class Looks:
    """A Redis in which the front end is missing; each look takes `seconds` of the clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.seconds = 0.0

    async def gone(self, redis: Redis, front_ids: Sequence[str]) -> set[str]:
        self.now += self.seconds
        return set(front_ids)

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    made = Looks()
    monkeypatch.setattr(attendance, "fronts", made)
    monkeypatch.setattr(attendance, "time", made)
    return made


async def test_a_front_end_is_missing_from_when_that_was_seen(looks: Looks, redis: Redis) -> None:
    """An outage that held up the look counts for nobody's absence: the front end has had no chance to come back."""
    left = []
    attending = Attendance(redis, 3 * GRACE)
    with attending.watched("resp_1", FRONT, lambda: left.append("resp_1")):
        looks.seconds = 5 * GRACE
        await attending._look()
        looks.seconds = GRACE / 4
        await attending._look()
        assert left == []
        looks.seconds = GRACE
        await attending._look()
        assert left == ["resp_1"]
