"""How often something was done in the last minute, by Redis' clock. The window slides: no burst at its edge."""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from shared.redis import keys, scripts

WINDOW_MS = 60_000


@dataclass(frozen=True, slots=True)
class Rate:
    """Where a name stands after a request."""

    limit: int
    remaining: int
    reset_ms: int  # until all of the limit is free again, if nothing more is asked
    wait_ms: int | None  # the request is refused, and may be made after so long; None: it was counted


async def take(redis: Redis, name: str, request_id: str, limit: int) -> Rate:
    """Counts a request of `name` unless `limit` were made in the last minute. A call that is repeated counts once."""
    refused, count, wait, reset = await scripts.RATE.call(redis, [keys.rate(name)], [request_id, limit, WINDOW_MS])
    return Rate(limit, max(limit - count, 0), reset, wait if refused else None)
