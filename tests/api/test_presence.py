"""A front end says that it lives, whatever becomes of its connections."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from api.presence import Presence
from shared.redis import fronts
from tests.waiting import until


async def test_a_word_that_hangs_is_given_up(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers wait for a third of a lease only: a connection that swallows the word must not hold up the next one."""
    said = []
    really = fronts.announce

    async def announce(redis: Redis, front_id: str, ttl_seconds: float) -> None:
        said.append(front_id)
        if len(said) < 3:
            await asyncio.Event().wait()
        await really(redis, front_id, ttl_seconds)

    monkeypatch.setattr(fronts, "announce", announce)
    presence = Presence(redis, 0.6)
    async with asyncio.timeout(20):
        await presence.start()
        await until(lambda: len(said) > 4)
        await presence.close()
    assert await fronts.gone(redis, [presence.id]) == {presence.id}
