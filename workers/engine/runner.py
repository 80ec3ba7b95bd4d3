"""The engine's thread: it owns the context, and everything that happens to it happens here."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np
import structlog
from numpy.typing import NDArray

from workers.engine.context import Context, DecodeFailed
from workers.engine.core import Chunk, EngineFailed, EngineStats, ImageCells
from workers.engine.generation import Stream
from workers.engine.kv import KVCache
from workers.engine.masks import Mask, MaskMaker
from workers.engine.sampling import apply_mask
from workers.engine.scheduler import Scheduler, Work
from workers.engine.sequence import Sequence

log = structlog.get_logger("engine")

DELIVERY_SECONDS = 0.04
"""Where steps are shorter, what they bring is delivered together: 25 times a second is smooth, as in films, and each
delivery costs the event loop, Redis, the front end and the client a turn, however little it carries."""


@dataclass(frozen=True, slots=True)
class Step:
    """One llama_decode call."""

    plan: list[Work]  # of texts
    sampled: list[Sequence]  # whose next token is sampled, in the order of the logits
    constrained: list[Sequence]  # those of them that need a mask
    masks: Future[list[Mask]] | None
    started: float  # time.perf_counter()


class Runner:
    """Steps as long as there is work; sleeps when there is none."""

    def __init__(
        self, context: Context, kv: KVCache, scheduler: Scheduler, masks: MaskMaker, stats: EngineStats
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None  # where streams are read
        self._context = context
        self._kv = kv
        self._scheduler = scheduler
        self._masks = masks
        self._stats = stats
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._blocked = False  # all wait for something that comes into the inbox
        self._outbox: list[tuple[Stream, Chunk | EngineFailed]] = []
        self._live: set[Sequence] = set()
        self._delivered = 0.0  # time.monotonic() of the last delivery
        self._urgent = False  # a beginning or an end waits to be delivered

    # from any thread

    def submit(self, sequence: Sequence) -> None:
        self._inbox.put(partial(self._accept, sequence))

    def cancel(self, sequence: Sequence) -> None:
        self._inbox.put(partial(self._cancel, sequence))

    def wake(self) -> None:
        """A picture has been looked at: somebody may go on."""
        self._inbox.put(_nothing)

    def stop(self) -> None:
        self._inbox.put(None)

    # on the engine's thread

    def run(self) -> None:
        """Until `stop`. What is unfinished then fails."""
        reason = "the engine was closed"
        try:
            while self._receive():
                plan = self._scheduler.schedule()
                texts = [work for work in plan if work.image is None]
                if texts:
                    step = self._prepare(texts)
                    if self._forward(step):
                        self._process(step)
                for work in plan:
                    if work.image is not None and work.sequence.slot >= 0:
                        self._show(work, work.image)
                self._blocked = not plan
        except Exception as error:
            log.exception("the engine stopped")
            reason = f"the engine stopped: {error!r}"
            raise
        finally:
            for sequence in list(self._live):
                self._fail(sequence, EngineFailed(reason))
            self._flush()

    def _receive(self) -> bool:
        """Takes in what was submitted and cancelled; waits while there is nothing to do. False: stop."""
        while True:
            if self._scheduler.idle or self._blocked:
                self._flush()
            elif self._inbox.empty():
                return True
            message = self._inbox.get()
            if message is None:
                return False
            message()
            self._blocked = False

    def _prepare(self, plan: list[Work]) -> Step:
        """Fills the batch, and has the masks made that sampling will need."""
        started = time.perf_counter()
        batch = self._context.batch
        batch.clear()
        single = [work for work in plan if work.count == 1 and work.samples]
        batch.add_single(
            [work.sequence.slot for work in single],
            [work.sequence.position for work in single],
            [work.sequence.last_token for work in single],
        )
        several = [work for work in plan if work.count > 1 or not work.samples]
        for work in several:
            batch.add(work.sequence.slot, work.sequence.position, work.tokens, work.samples)
        sampled = [work.sequence for work in single] + [work.sequence for work in several if work.samples]
        constrained = [sequence for sequence in sampled if sequence.needs_mask]
        constraints = [sequence.constraint for sequence in constrained if sequence.constraint is not None]
        masks = self._masks.start(constraints) if constraints else None
        return Step(plan, sampled, constrained, masks, started)

    def _forward(self, step: Step) -> bool:
        """Decodes the batch; meanwhile what the last steps brought is delivered. False if nothing was computed."""
        if self._delivery_is_due(step):
            self._flush()
        started = time.perf_counter()
        if not self._decoded(self._context.decode):
            return False
        seconds = time.perf_counter() - started
        batch = self._context.batch
        self._stats.steps += 1
        self._stats.decode_seconds += seconds
        prefilled = sum(work.count for work in step.plan if not work.sequence.decoding)
        self._stats.prefilled_tokens += prefilled
        self._scheduler.pace.measured(batch.size - prefilled, prefilled, seconds)
        return True

    def _show(self, work: Work, image: ImageCells) -> None:
        """Puts a stretch of an image into the memory."""
        sequence = work.sequence
        try:
            rows = sequence.views.rows(image, sequence.filled, work.count)
        except EngineFailed as error:
            self._fail(sequence, error)
            return
        self._flush()
        positions = None
        if image.positions is not None:
            offset = sequence.filled - image.start
            positions = image.positions[:, offset : offset + work.count]
        started = time.perf_counter()
        decode = self._context.decode_image
        if self._decoded(partial(decode, sequence.slot, sequence.filled, rows, positions, image.whole)):
            seconds = time.perf_counter() - started
            self._kv.take(sequence.slot, work.count)
            sequence.filled += work.count
            self._stats.steps += 1
            self._stats.prefilled_tokens += work.count
            self._stats.decode_seconds += seconds
            self._stats.busy_seconds += seconds

    def _decoded(self, decode: Callable[[], bool]) -> bool:
        """Whether `decode` could do its work; where not, somebody has had to make way, or everybody to fail."""
        try:
            placed = decode()
        except DecodeFailed as error:
            log.error("decode failed", reason=str(error))
            for sequence in list(self._scheduler.running):
                self._fail(sequence, EngineFailed(str(error)))
            self._kv.clear()
            self._context.clear()
            return False
        if not placed:
            self._make_way()
        return placed

    def _process(self, step: Step) -> None:
        """Samples the next tokens and ends what has come to its end."""
        for work in step.plan:
            self._kv.take(work.sequence.slot, work.count)
            work.sequence.filled += work.count
            if work.sequence.filled == work.sequence.length:
                work.sequence.decoding = True
        masks = dict(zip(step.constrained, step.masks.result(), strict=True)) if step.masks is not None else {}
        if step.sampled:
            logits = self._context.logits()
            for row, sequence in enumerate(step.sampled):
                self._sample(sequence, logits[row], masks.get(sequence))
        self._stats.generated_tokens += len(step.sampled)
        self._kv.tick(len(step.sampled))
        for work in step.plan:
            if work.sequence.finish is not None and work.sequence.decoding:
                self._end(work.sequence)
        self._stats.busy_seconds += time.perf_counter() - step.started

    def _sample(self, sequence: Sequence, logits: NDArray[np.float32], mask: Mask | None) -> None:
        try:
            if isinstance(mask, Exception):
                raise mask
            raw = logits.copy() if sequence.wants_logprobs else None
            if mask is not None and not apply_mask(logits, mask):
                raise EngineFailed("the grammar allows no token here")
            token = sequence.sampler.choose(logits)
            sequence.advance(token, None if raw is None else sequence.sampler.logprob(raw, token))
        except Exception as error:
            self._fail(sequence, error)
            return
        if sequence.finish is None:
            if not sequence.spoken:
                sequence.spoken = self._urgent = True
            self._outbox.append((sequence.stream, sequence.take_chunk()))

    def _make_way(self) -> None:
        """llama.cpp found no cells although there should be some: gives up donors, then the youngest sequence."""
        log.warning("no cells for a batch", tokens=self._context.batch.size, free=self._kv.free_cells)
        if self._kv.donors:
            self._kv.clear()
        elif len(self._scheduler.running) > 1:
            self._scheduler.preempt(self._scheduler.running[-1])
        else:
            self._fail(self._scheduler.running[0], EngineFailed("the KV cache has no room"))

    def _accept(self, sequence: Sequence) -> None:
        self._live.add(sequence)
        try:
            sequence.start()
        except Exception as error:
            self._fail(sequence, error)
            return
        if sequence.finish is not None and sequence.request.max_tokens != 0:
            self._end(sequence)
        else:
            self._scheduler.submit(sequence)

    def _cancel(self, sequence: Sequence) -> None:
        if sequence in self._live:
            sequence.finish = "cancelled"
            self._end(sequence)

    def _end(self, sequence: Sequence) -> None:
        self._live.remove(sequence)
        self._scheduler.finish(sequence)
        self._outbox.append((sequence.stream, sequence.take_chunk()))
        self._urgent = True

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        if not isinstance(error, EngineFailed):
            failure = EngineFailed(f"the grammar failed: {error!r}")
            failure.__cause__ = error
            error = failure
        self._live.remove(sequence)
        self._scheduler.finish(sequence)
        self._outbox.append((sequence.stream, error))
        self._urgent = True

    def _delivery_is_due(self, step: Step) -> bool:
        """Whether what waits should not wait for the end of this step too."""
        if self._urgent or any(not work.sequence.decoding for work in step.plan):
            return True
        return time.monotonic() - self._delivered + self._scheduler.pace.decode_seconds > DELIVERY_SECONDS

    def _flush(self) -> None:
        """Hands everything new to the event loop at once."""
        if not self._outbox or self.loop is None:
            return
        outbox, self._outbox = self._outbox, []
        self._urgent, self._delivered = False, time.monotonic()
        try:
            self.loop.call_soon_threadsafe(_deliver, outbox)
        except RuntimeError:  # the loop is closed: nobody reads any more
            for sequence in list(self._live):
                self._cancel(sequence)
            self._outbox.clear()


def _nothing() -> None:
    """To wake the thread is enough."""


def _deliver(outbox: list[tuple[Stream, Chunk | EngineFailed]]) -> None:
    for stream, news in outbox:
        if isinstance(news, EngineFailed):
            stream.fail(news)
        else:
            stream.merge(news)
