"""Clients that read slower than they are sent to: who takes not a byte for long is disconnected, and can resume.

Slowness is no reason: what waits for a reader is bounded (`api.relay`, and the high-water mark of its socket), and the
log has the rest. But a reader that has stopped holds its place for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger()

LOOK_SECONDS = 5.0


class Reader:
    """What one client has been sent, and whether it takes it."""

    def __init__(self, transport: asyncio.WriteTransport | None) -> None:
        self._transport = transport
        self._written = 0
        self._taken = 0
        self._since: float | None = None  # since when it has taken nothing of what waits; None: nothing waits
        self._ids = structlog.contextvars.get_contextvars()  # of the request, for the log
        self.cut_off = False

    def wrote(self, size: int) -> None:
        """To be told before what is written waits for the socket."""
        self._written += size

    @property
    def waiting(self) -> int:
        """Bytes that this process holds for it."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def look(self, now: float, patience: float) -> None:
        """Disconnects it if it has taken nothing for `patience` seconds though something waits for it."""
        if self._transport is None or self._transport.is_closing():
            return
        taken = self._written - self.waiting  # less what HTTP writes around it, which is little
        if not self.waiting:
            self._taken, self._since = taken, None
        elif self._since is None or taken > self._taken:
            self._taken, self._since = taken, now
        elif now - self._since >= patience:
            log.warning("slow_reader", seconds=round(now - self._since, 1), bytes=self.waiting, **self._ids)
            self.cut_off = True
            self._transport.abort()


class Readers:
    """All clients of this process that are being sent something."""

    def __init__(self, patience: float) -> None:
        """`patience` in seconds; 0: for ever."""
        self._patience = patience
        self._readers: set[Reader] = set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._patience:
            self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @contextmanager
    def watching(self, transport: asyncio.WriteTransport | None) -> Iterator[Reader]:
        """While a client is sent something."""
        reader = Reader(transport)
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    @property
    def waiting(self) -> int:
        """Bytes that this process holds for all of them."""
        return sum(reader.waiting for reader in self._readers)

    def __len__(self) -> int:
        return len(self._readers)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._patience / 4))
            now = asyncio.get_running_loop().time()
            for reader in list(self._readers):
                reader.look(now, self._patience)
