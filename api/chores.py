"""What front ends have to do in Redis although nobody waits for it: it is done later where Redis is away now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from redis.exceptions import RedisError

from api.finishing import to_its_end
from shared.redis.outage import outage, patiently

PATIENCE_SECONDS = 3600.0  # after an outage of this length the time to live of keys has to do


class Chores:
    """The work of this process that waits for Redis."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def do(self, work: Callable[[], Coroutine[Any, Any, object]], what: str) -> None:
        """Does it to its end, also when the caller is cancelled; where Redis is away, as soon as that is back.

        It may be done twice. Raises what `work` raises for other reasons.
        """
        try:
            await to_its_end(work())
        except RedisError as error:
            if outage(error) is None:
                raise
            task = asyncio.create_task(self._later(work, what))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _later(self, work: Callable[[], Coroutine[Any, Any, object]], what: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await patiently(work, what)
