"""A front end says that it lives, whatever becomes of its connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis import Redis as BlockingRedis
from redis.asyncio import Redis

from api import presence as module
from api.presence import Presence
from shared.redis import fronts, keys
from tests.waiting import until


async def test_a_word_that_hangs_is_given_up(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers wait for a third of a lease only: a connection that swallows the word must not hold up the next one."""
    said = []
    really = fronts.announce

    async def announce(redis: Redis, front_id: str, ttl_seconds: float) -> None:
        said.append(front_id)
        if len(said) < 3:
            await asyncio.Event().wait()
        await really(redis, front_id, ttl_seconds)

    monkeypatch.setattr(fronts, "announce", announce)
    monkeypatch.setattr(module, "RETIRE_SECONDS", 30.0)
    presence = Presence(redis, redis_url, 0.6, 3.0)
    async with asyncio.timeout(20):
        await presence.start()
        await until(lambda: len(said) > 4)
        await presence.close()
    assert await fronts.gone(redis, [presence.id]) == {presence.id}


@asynccontextmanager
async def told(redis: Redis, redis_url: str, lease_seconds: float) -> AsyncIterator[Presence]:
    presence = Presence(redis, redis_url, lease_seconds, 3.0)
    await presence.start()
    try:
        yield presence
    finally:
        await presence.close()


async def test_it_is_told_while_the_event_loop_is_held_up(redis: Redis, redis_url: str) -> None:
    """One client's request must not end the unstored responses of others."""
    async with told(redis, redis_url, 24.0) as presence:  # told every 2 s, for 8 s
        with BlockingRedis.from_url(redis_url) as blocking:  # from here to its end the loop does not run
            left = blocking.pttl(keys.front(presence.id))
            deadline = time.monotonic() + 60
            while (now := blocking.pttl(keys.front(presence.id))) <= left:
                assert now > 0, "the key is gone"
                assert time.monotonic() < deadline
                left = now
                time.sleep(0.01)  # noqa: ASYNC251  the loop is to be held up


async def test_a_loop_that_is_stuck_is_gone(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clients get nothing any more: what nobody else can read has to end."""
    monkeypatch.setattr(module, "STUCK_SECONDS", 0.5)
    async with told(redis, redis_url, 1.2) as presence:
        with BlockingRedis.from_url(redis_url) as blocking:
            deadline = time.monotonic() + 60
            while blocking.exists(keys.front(presence.id)):
                assert time.monotonic() < deadline
                time.sleep(0.01)  # noqa: ASYNC251  the loop is to be held up
