"""That this front end lives, told to the workers; see `workers/attendance.py` for what they do when it does not."""

from __future__ import annotations

import asyncio

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.enduring import enduring
from shared.redis import fronts
from shared.schema.ids import new_id

log = structlog.get_logger()

RETIRE_SECONDS = 1.0  # the key goes by itself, and a process that stops has little time


class Presence:
    """Keeps this process' key in Redis."""

    def __init__(self, redis: Redis, lease_seconds: float) -> None:
        self.id = new_id("front")
        self._redis = redis
        self._ttl = lease_seconds / 3
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._announce()
        self._task = asyncio.create_task(enduring(self._keep, "presence"))

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(RETIRE_SECONDS):
                await fronts.retire(self._redis, self.id)
        except (RedisError, OSError) as error:
            log.warning("presence_not_retired", error=str(error))

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._ttl / 4)
            await self._announce()

    async def _announce(self) -> None:
        try:
            async with asyncio.timeout(self._ttl / 2):  # a connection that hangs is given up: workers wait for `ttl`
                await fronts.announce(self._redis, self.id, self._ttl)
        except (RedisError, OSError) as error:  # OSError: also the time-out
            log.warning("presence_not_told", error=str(error))
