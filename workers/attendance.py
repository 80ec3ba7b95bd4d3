"""Who waits for the responses that nobody else can fetch: when their front end is gone, they are ended.

A front end keeps a key for a third of a lease (`shared.redis.fronts`). One that stays without it for another third is
gone: after an outage of Redis all keys are missing for a moment, and no clock but this process' own is read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.enduring import enduring
from shared.redis import fronts

log = structlog.get_logger()


class Attendance:
    """The unstored responses of this process and their front ends."""

    def __init__(self, redis: Redis, lease_seconds: float) -> None:
        self._redis = redis
        self._grace = lease_seconds / 3
        self._watched: dict[str, tuple[str, Callable[[], None]]] = {}
        self._missing: dict[str, float] = {}  # since when, by front end
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def watched(self, response_id: str, front: str | None, abort: Callable[[], None]) -> Iterator[None]:
        """Meanwhile `abort` is called when `front` is gone; a response without one is waited for by nobody."""
        if front is None:
            yield
            return
        self._watched[response_id] = front, abort
        try:
            yield
        finally:
            self._watched.pop(response_id, None)

    def start(self) -> None:
        self._task = asyncio.create_task(enduring(self._keep, "attendance"))

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._grace / 4)
            if self._watched:
                try:
                    await self._look()
                except (RedisError, OSError) as error:
                    self._missing.clear()  # what was seen before says nothing now
                    log.warning("fronts_not_seen", error=str(error))

    async def _look(self) -> None:
        missing = await fronts.gone(self._redis, sorted({front for front, _ in self._watched.values()}))
        now = time.monotonic()  # not before: the answer may have taken longer than the grace
        self._missing = {front: self._missing.get(front, now) for front in missing}
        for response_id, (front, abort) in list(self._watched.items()):
            if now - self._missing.get(front, now) >= self._grace:
                log.info("nobody_waits", response_id=response_id, front=front)
                del self._watched[response_id]
                abort()
