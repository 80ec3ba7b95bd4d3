"""A worker without a model, in a process of its own: it writes events as fast as it is asked to.

    python -m bench.pusher REDIS_URL MODEL

It speaks the worker's side of the Redis protocol for real: claims jobs under a lease, appends, finishes. Each delta is
the time at which it was made, in nanoseconds of `time.monotonic`.
"""

from __future__ import annotations

import asyncio
import sys
import time

from msgspec import Struct
from redis.asyncio import Redis

from bench.child import Child, serve
from shared.emitter import Emitter
from shared.redis import event_log, queue, records, registry, scripts
from shared.redis.connection import connect
from shared.schema.models import ModelCard
from shared.schema.response import InputTokensDetails, OutputTokensDetails, Usage

TOKEN = "bench"
LEASE_MS = 300_000
CARD_SECONDS = 3600.0
GROUP = 32  # responses whose events go out in one call, as from a worker with so many slots
CLAIM_SECONDS = 60.0  # how long all requests may take to come


class Push(Struct):
    """Takes `responses` jobs, then appends `steps` deltas to each."""

    responses: int
    steps: int
    events_per_second: float  # of all responses together; 0: as fast as Redis takes them


class Pushed(Struct):
    events: int  # of all responses, the one the front end wrote included
    started: float  # time.monotonic() before the first delta
    ended: float  # when the last delta was in Redis


Pusher = Child[Pushed]


def pusher(redis_url: str, model: str) -> Pusher:
    """A process that serves `model` in this way, and has said so."""
    child: Pusher = Child("bench.pusher", Pushed, redis_url, model)
    child.ask(Push(0, 0, 0))
    return child


class Written:
    """A response being written."""

    def __init__(self, context: records.Context) -> None:
        self.response = context.response
        self.emitter = Emitter(context.response, 1)
        self.sequence = 1
        self.deltas = 0

    def take(self) -> tuple[int, list[bytes]]:
        """The new events and the sequence number of the first."""
        first, events = self.sequence, self.emitter.take()
        self.sequence += len(events)
        return first, events

    def speak(self) -> None:
        self.emitter.text(f"{time.monotonic_ns()} ")
        self.deltas += 1

    def end(self) -> None:
        usage = Usage(
            input_tokens=0,
            input_tokens_details=InputTokensDetails(),
            output_tokens=self.deltas,
            output_tokens_details=OutputTokensDetails(),
            total_tokens=self.deltas,
        )
        self.emitter.complete(usage)


class ScriptedWorker:
    """Announces a model that does not exist, and answers for it."""

    def __init__(self, redis_url: str, model: str) -> None:
        self._redis: Redis = connect(redis_url)
        self._model = model
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._announce())

    def answer(self, order: Push) -> Pushed:
        return self._loop.run_until_complete(self._push(order))

    async def _announce(self) -> None:
        await scripts.load(self._redis)
        key = self._model.partition("@")[0]
        card = ModelCard(id=self._model, key=key, default=True, created=0, context_length=32768, state="loaded")
        worker = registry.WorkerCard(id="bench", models=[card], running=0, slots=10_000)
        await registry.announce(self._redis, worker, CARD_SECONDS)

    async def _push(self, order: Push) -> Pushed:
        written = await self._claim(order.responses)
        groups = [written[start : start + GROUP] for start in range(0, len(written), GROUP)]
        for group in groups:
            for one in group:
                one.emitter.in_progress()
                one.speak()
            await self._append(group)
        started, sent = time.monotonic(), 0
        for _ in range(order.steps - 1):
            for group in groups:
                if order.events_per_second:
                    await asyncio.sleep(max(0.0, started + sent / order.events_per_second - time.monotonic()))
                for one in group:
                    one.speak()
                await self._append(group)
                sent += len(group)
        ended = time.monotonic()
        for one in written:
            await self._finish(one)
        return Pushed(sum(one.sequence for one in written), started, ended)

    async def _append(self, group: list[Written]) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for one in group:
                first, events = one.take()
                entries = [event_log.Entry(event) for event in events]
                event_log.queue_append(pipeline, one.response.id, TOKEN, first, entries)
            replies = await pipeline.execute()
        if any(reply != queue.HELD for reply in replies):
            raise RuntimeError(f"an append was refused: {replies}")

    async def _finish(self, one: Written) -> None:
        one.end()
        first, events = one.take()
        await event_log.finish(
            self._redis,
            one.response,
            self._model,
            TOKEN,
            first,
            events,
            record_ttl_seconds=60,
            log_ttl_seconds=60,
        )

    async def _claim(self, count: int) -> list[Written]:
        claimed: list[Written] = []
        deadline = time.monotonic() + CLAIM_SECONDS
        while len(claimed) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(claimed)} of {count} requests came")
            wanted, running = count - len(claimed), [one.response.id for one in claimed]
            for claim in await queue.claim(self._redis, self._model, TOKEN, wanted, LEASE_MS, running=running):
                context = await records.read_context(self._redis, claim.job_id)
                if context is None:
                    raise RuntimeError(f"the response {claim.job_id} is gone")
                claimed.append(Written(context))
            await asyncio.sleep(0.005)
        return claimed


if __name__ == "__main__":
    serve(Push, ScriptedWorker(sys.argv[1], sys.argv[2]).answer)
