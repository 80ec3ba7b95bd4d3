"""The way of events to Redis: what is ready together, of all responses of this process, goes out in one round trip.

While Redis is away a stream keeps what it could not send, up to a limit at which its generation waits. It also keeps
the last events that it did send: a Redis that lost its last writes gets them again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from shared.redis import event_log, queue, scripts
from shared.redis.event_log import Entry, Progress
from shared.redis.outage import LONGEST_RETRY_SECONDS, RETRY_SECONDS, outage

log = structlog.get_logger()


class EventsLost(Exception):
    """Redis lost more events of a response than its worker has kept: the stream cannot go on."""


class Stream:
    """The events of one response on their way. `abort` is called when the lease is lost or a cancel was asked for.

    `log` are the events that Redis has already; `limit` is how many unsent ones fit, and how many sent ones are kept.
    """

    def __init__(
        self,
        outbox: Outbox,
        response_id: str,
        token: str,
        log: Sequence[Entry],
        limit: int,
        abort: Callable[[int], None],
    ) -> None:
        self.response_id = response_id
        self.token = token
        self._outbox = outbox
        self._first = len(log)  # sequence number of the first event not yet acknowledged
        self._limit = limit
        self._kept: deque[Entry] = deque(log, limit)  # the last acknowledged ones
        self._waiting: list[Entry] = []
        self._in_flight: list[Entry] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._abort = abort
        self.progressed = asyncio.Event()  # something that was generated here is in the log
        self.refused = False  # whether Redis refuses to append, though it serves

    def send(self, events: list[bytes], progress: Progress | None = None) -> None:
        """Hands events over; returns at once. `progress` is that of the last one."""
        if events:
            self._waiting.extend(map(Entry, events))
            self._waiting[-1] = Entry(events[-1], progress)
            self._outbox.notify(self)

    async def room(self) -> None:
        """Waits while too much is unsent."""
        while len(self._waiting) + len(self._in_flight) >= self._limit:
            self._outbox.notify(self)
            await asyncio.sleep(0)
            await self._idle.wait()

    async def drain(self) -> None:
        """Waits until nothing is in flight."""
        while self._in_flight:
            await self._idle.wait()

    async def flush(self) -> None:
        """Waits until everything handed over is in the log, or refused."""
        while not self.refused and (self._waiting or self._in_flight):
            self._outbox.notify(self)
            await asyncio.sleep(0)
            await self._idle.wait()

    def take_rest(self) -> tuple[int, list[bytes]]:
        """What has not been sent, with the sequence number of its first event; for the final call. After `drain`."""
        rest, self._waiting = self._waiting, []
        return self._first, [entry.event for entry in rest]

    def rewind(self, length: int) -> None:
        """The log has only `length` events: what it lost is to be sent again. Raises EventsLost."""
        lost = self._first - length
        if lost > len(self._kept):
            raise EventsLost(f"Redis lost {lost} events that it had acknowledged, of which {len(self._kept)} are kept")
        again = [self._kept.pop() for _ in range(lost)][::-1]
        log.warning("events_sent_again", response_id=self.response_id, events=lost)
        self._waiting = again + self._in_flight + self._waiting
        self._in_flight = []
        self._first = length

    def begin(self) -> tuple[int, list[Entry]]:
        """Outbox only: the next batch, now in flight."""
        self._in_flight += self._waiting
        self._waiting = []
        self._idle.clear()
        return self._first, self._in_flight

    def acknowledge(self, outcome: int) -> None:
        """Outbox only: the batch is in the log, or the lease is lost, or the log was found shorter than it was."""
        length = event_log.cut(outcome)
        if length is None:
            if not self.progressed.is_set() and any(entry.progress for entry in self._in_flight):
                self.progressed.set()
            self._kept.extend(self._in_flight)
            self._first += len(self._in_flight)
            self._in_flight = []
        else:
            try:
                self.rewind(length)
                self._outbox.notify(self)
            except EventsLost as error:
                log.error("stream_torn", response_id=self.response_id, error=str(error))
                self._first += len(self._in_flight)
                self._in_flight = []
                outcome = queue.TORN
        self._idle.set()
        if outcome in (queue.LOST, queue.CANCEL, queue.TORN):
            self._abort(outcome)

    def refuse(self) -> None:
        """Outbox only: Redis refuses the batch for good. The response is to end, and its end takes the batch along."""
        self.refused = True
        self._waiting = self._in_flight + self._waiting
        self._in_flight = []
        self._idle.set()
        self._abort(queue.TORN)

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)


class Outbox:
    """Sends what all streams have waiting, one pipelined call after the other."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._ready: dict[Stream, None] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def notify(self, stream: Stream) -> None:
        self._ready[stream] = None
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            streams = [stream for stream in self._ready if stream.has_waiting]
            self._ready.clear()
            batches = [(stream, *stream.begin()) for stream in streams]
            pause = RETRY_SECONDS
            while batches:
                batches, away = await self._send(batches)
                if away:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_RETRY_SECONDS)

    async def _send(
        self, batches: list[tuple[Stream, int, list[Entry]]]
    ) -> tuple[list[tuple[Stream, int, list[Entry]]], bool]:
        """Sends the batches; returns those to be sent again, and whether Redis cannot take them now."""
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for stream, first, events in batches:
                    event_log.queue_append(pipeline, stream.response_id, stream.token, first, events)
                replies = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            log.warning("events_wait", outage=outage(error), error=str(error), streams=len(batches))
            return batches, True
        except Exception:  # whatever it is, streams would wait for good without it
            log.exception("outbox_broke")
            return batches, True
        again, away, unknown = [], False, False
        for batch, reply in zip(batches, replies, strict=True):
            if isinstance(reply, NoScriptError):
                again.append(batch)
                unknown = True
            elif isinstance(reply, Exception) and (kind := outage(reply)):
                if not away:
                    log.warning("events_wait", outage=kind, error=str(reply), streams=len(batches))
                again.append(batch)
                away = True
            elif isinstance(reply, Exception):
                log.error("append_refused", response_id=batch[0].response_id, error=str(reply))
                batch[0].refuse()
            else:
                batch[0].acknowledge(reply)
        if unknown:
            try:
                await scripts.load(self._redis)
            except (RedisError, OSError) as error:
                log.warning("events_wait", outage=outage(error), error=str(error), streams=len(batches))
                away = True
        return again, away
