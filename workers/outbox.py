"""The way of events to Redis: what is ready together, of all responses of this process, goes out in one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, NoScriptError, RedisError, TimeoutError

from shared.redis import event_log, queue, scripts
from shared.redis.event_log import Entry, Progress

log = structlog.get_logger()


class Stream:
    """The events of one response on their way. `abort` is called when the lease is lost or a cancel was asked for."""

    def __init__(self, outbox: Outbox, response_id: str, token: str, first: int, abort: Callable[[int], None]) -> None:
        self.response_id = response_id
        self.token = token
        self._outbox = outbox
        self._first = first  # sequence number of the first event not yet acknowledged
        self._waiting: list[Entry] = []
        self._in_flight: list[Entry] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._abort = abort

    def send(self, events: list[bytes], progress: Progress | None = None) -> None:
        """Hands events over; returns at once. `progress` is that of the last one."""
        if events:
            self._waiting.extend(map(Entry, events))
            self._waiting[-1] = Entry(events[-1], progress)
            self._outbox.notify(self)

    async def drain(self) -> None:
        """Waits until nothing is in flight."""
        while self._in_flight:
            await self._idle.wait()

    async def flush(self) -> None:
        """Waits until everything handed over is in the log."""
        while self._waiting or self._in_flight:
            self._outbox.notify(self)
            await asyncio.sleep(0)
            await self._idle.wait()

    def take_rest(self) -> tuple[int, list[bytes]]:
        """What has not been sent, with the sequence number of its first event; for the final call. After `drain`."""
        rest, self._waiting = self._waiting, []
        return self._first, [entry.event for entry in rest]

    def begin(self) -> tuple[int, list[Entry]]:
        """Outbox only: the next batch, now in flight."""
        self._in_flight += self._waiting
        self._waiting = []
        self._idle.clear()
        return self._first, self._in_flight

    def acknowledge(self, outcome: int) -> None:
        """Outbox only: the batch is in the log, or the lease is lost."""
        self._first += len(self._in_flight)
        self._in_flight = []
        self._idle.set()
        if outcome != queue.HELD:
            self._abort(outcome)

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)


class Outbox:
    """Sends what all streams have waiting, one pipelined call after the other."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._ready: dict[str, Stream] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def notify(self, stream: Stream) -> None:
        self._ready[stream.response_id] = stream
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            streams = [stream for stream in self._ready.values() if stream.has_waiting]
            self._ready.clear()
            batches = [(stream, *stream.begin()) for stream in streams]
            while batches:
                batches = await self._send(batches)

    async def _send(self, batches: list[tuple[Stream, int, list[Entry]]]) -> list[tuple[Stream, int, list[Entry]]]:
        """Sends the batches; returns those to be sent again."""
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for stream, first, events in batches:
                    event_log.queue_append(pipeline, stream.response_id, stream.token, first, events)
                replies = await pipeline.execute(raise_on_error=False)
        except (ConnectionError, TimeoutError) as error:
            log.warning("redis_unreachable", error=str(error), streams=len(batches))
            await asyncio.sleep(0.2)
            return batches
        again = []
        for batch, reply in zip(batches, replies, strict=True):
            if isinstance(reply, NoScriptError):
                again.append(batch)
            elif isinstance(reply, RedisError):
                log.error("append_refused", response_id=batch[0].response_id, error=str(reply))
                batch[0].acknowledge(queue.LOST)
            else:
                batch[0].acknowledge(reply)
        if again:
            await scripts.load(self._redis)
        return again
