"""How often one worker process calls the servers of one host."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


class CallRate:
    """A token bucket for each host: a minute's calls at once, then as many as come back. What is over it waits."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._full_at: dict[str, float] = {}  # when the bucket of a host is full again

    async def wait(self, host: str, per_minute: int) -> None:
        """Returns when the next call to `host` may be made; at once where `per_minute` is 0."""
        if per_minute <= 0:
            return
        each = 60 / per_minute
        now = self._clock()
        self._full_at = {name: at for name, at in self._full_at.items() if at > now}
        self._full_at[host] = full_at = max(self._full_at.get(host, now), now) + each
        delay = full_at - now - 60
        if delay <= 1e-6:
            return
        try:
            await self._sleep(delay)
        except asyncio.CancelledError:
            if host in self._full_at:
                self._full_at[host] -= each  # the call is not made
            raise
