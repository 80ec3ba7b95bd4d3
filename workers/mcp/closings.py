"""The ends of sessions: a response that has ended does not wait for its servers to hear of it."""

from __future__ import annotations

import asyncio

from workers.mcp.servers import Servers


class Closings:
    """What one process is closing. A session keeps its place, and its secrets, until it is closed."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, servers: Servers) -> None:
        """Closes the connections of a response, behind it."""
        task = asyncio.create_task(servers.close(), name="mcp closing")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self, seconds: float) -> None:
        """Returns when everything is closed; what is not after so many seconds is cut off."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
