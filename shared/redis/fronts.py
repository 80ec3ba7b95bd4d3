"""Which front ends live: each keeps a key that goes with it, so that workers see who nobody waits for any more."""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

from shared.redis import keys


async def announce(redis: Redis, front_id: str, ttl_seconds: float) -> None:
    """Says that a front end lives, for `ttl_seconds`."""
    await redis.set(keys.front(front_id), "", px=int(ttl_seconds * 1000))


async def retire(redis: Redis, front_id: str) -> None:
    """Says that a front end is gone."""
    await redis.delete(keys.front(front_id))


async def gone(redis: Redis, front_ids: Sequence[str]) -> set[str]:
    """Those of them that do not live."""
    async with redis.pipeline(transaction=False) as pipeline:
        for front_id in front_ids:
            pipeline.exists(keys.front(front_id))
        found = await pipeline.execute()
    return {front_id for front_id, there in zip(front_ids, found, strict=True) if not there}
