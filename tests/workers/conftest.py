"""Fixtures of tests whose workers look around often."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from shared.redis import registry

LASTING_SECONDS = 600.0


@pytest.fixture
def lasting_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are announced for long, however short their heartbeats are: a card lives for three of them, and one that
    ends while the machine stands still is a worker that no front end knows of."""
    announce: Callable[[Redis, registry.WorkerCard, float], Awaitable[None]] = registry.announce

    async def lasting(redis: Redis, card: registry.WorkerCard, _: float) -> None:
        await announce(redis, card, LASTING_SECONDS)

    monkeypatch.setattr(registry, "announce", lasting)
