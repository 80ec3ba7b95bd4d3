"""That this front end lives, told to the workers; see `workers/attendance.py` for what they do when it does not.

It is told from a thread of its own, with an event loop and a connection: what keeps the loop that serves busy for some
seconds must not end the unstored responses of all clients. Where that loop has not run for STUCK_SECONDS, it is dead
to its clients, and nothing is told any more.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from threading import Thread

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.enduring import enduring
from shared.redis import fronts
from shared.redis.connection import connect
from shared.schema.ids import new_id

log = structlog.get_logger()

RETIRE_SECONDS = 1.0  # the key goes by itself, and a process that stops has little time
STUCK_SECONDS = 30.0


class Presence:
    """Keeps this process' key in Redis."""

    def __init__(self, redis: Redis, redis_url: str, lease_seconds: float, timeout: float) -> None:
        """`redis` is the serving loop's; the thread makes a connection of its own, which may take `timeout` seconds."""
        self.id = new_id("front")
        self._redis = redis
        self._url = redis_url
        self._timeout = timeout
        self._ttl = lease_seconds / 3
        self._ran = time.monotonic()  # when the loop that serves did
        self._beating: asyncio.Task[None] | None = None
        self._thread: Thread | None = None
        self._keeping: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None

    async def start(self) -> None:
        await self._announce(self._redis)
        self._beating = asyncio.create_task(self._beat())
        started = asyncio.get_running_loop().create_future()
        self._thread = Thread(target=self._in_thread, args=(started,), name="presence", daemon=True)
        self._thread.start()
        await started

    async def close(self) -> None:
        if self._beating:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        if self._keeping and self._thread:
            loop, task = self._keeping
            loop.call_soon_threadsafe(task.cancel)
            await asyncio.to_thread(self._thread.join, RETIRE_SECONDS)
        try:
            async with asyncio.timeout(RETIRE_SECONDS):
                await fronts.retire(self._redis, self.id)
        except (RedisError, OSError) as error:
            log.warning("presence_not_retired", error=str(error))

    async def _beat(self) -> None:
        while True:
            self._ran = time.monotonic()
            await asyncio.sleep(min(self._ttl / 4, 1.0))

    def _in_thread(self, started: asyncio.Future[None]) -> None:
        async def keep() -> None:
            task = asyncio.current_task()
            assert task is not None
            self._keeping = asyncio.get_running_loop(), task
            started.get_loop().call_soon_threadsafe(started.set_result, None)
            await enduring(self._keep, "presence")

        with suppress(asyncio.CancelledError):
            asyncio.run(keep())

    async def _keep(self) -> None:
        redis = connect(self._url, self._timeout)
        try:
            while True:
                await asyncio.sleep(self._ttl / 4)
                if time.monotonic() - self._ran < STUCK_SECONDS:
                    await self._announce(redis)
                else:
                    log.warning("web_stuck", seconds=round(time.monotonic() - self._ran, 1))
        finally:
            await redis.aclose(close_connection_pool=True)

    async def _announce(self, redis: Redis) -> None:
        try:
            async with asyncio.timeout(self._ttl / 2):  # a connection that hangs is given up: workers wait for `ttl`
                await fronts.announce(redis, self.id, self._ttl)
        except (RedisError, OSError) as error:  # OSError: also the time-out
            log.warning("presence_not_told", error=str(error))
