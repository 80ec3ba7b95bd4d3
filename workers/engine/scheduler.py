"""Decides what the next step computes: who decodes, whose prompt goes on, who gets a slot, who has to give one up."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from workers.engine.core import EngineStats, ImageCells
from workers.engine.kv import KVCache, Match
from workers.engine.sequence import Sequence

SHARED_PREFIX = 32  # tokens: for so many that another is computing, a prompt waits instead of computing them too
HEADROOM = 32  # cells kept for each running sequence before another prompt is let in
STREAM_PAUSE = 0.2  # seconds: what prompts may add to a step while others stream
SMALLEST_CHUNK = 32  # prompt tokens per step even if that takes longer


@dataclass(frozen=True, slots=True)
class Work:
    """The next `count` tokens of a sequence: of its text, or of an image."""

    sequence: Sequence
    count: int
    image: ImageCells | None = None

    @property
    def samples(self) -> bool:
        """After this everything known is computed, and the next token is to be sampled."""
        return self.count == self.sequence.pending and self.sequence.finish is None

    @property
    def tokens(self) -> NDArray[np.int32]:
        return self.sequence.tokens[self.sequence.filled : self.sequence.filled + self.count]


class Pace:
    """How many prompt tokens fit into the pause that running streams are asked to bear."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._token_seconds = 0.0
        self.decode_seconds = 0.0  # of the last step that only decoded

    @property
    def prompt_tokens(self) -> int:
        if not self._token_seconds:
            return self._limit
        return min(self._limit, max(SMALLEST_CHUNK, int(STREAM_PAUSE / self._token_seconds)))

    def measured(self, decoded: int, prefilled: int, seconds: float) -> None:
        """Learns from a step."""
        if not prefilled:
            self.decode_seconds = seconds
        elif prefilled >= SMALLEST_CHUNK:
            seconds = max(0.0, seconds - (self.decode_seconds if decoded else 0.0)) / prefilled
            self._token_seconds = (self._token_seconds or seconds) * 0.75 + seconds * 0.25


@dataclass(slots=True)
class _Prefill:
    """What prompts add to a step: one image at most, as it needs a decode of its own."""

    budget: int  # tokens left for this step
    room: int  # cells left
    plan: list[Work] = field(default_factory=list)
    image: bool = False  # there is one
    looking: bool = False  # a sequence could go on if its picture had been looked at

    @property
    def over(self) -> bool:
        return min(self.budget, self.room) <= 0

    def add(self, sequence: Sequence) -> None:
        """The next stretch of a prompt, as far as it fits."""
        image = sequence.image
        if image is None:
            self._append(Work(sequence, min(sequence.text_ahead, self.budget, self.room)))
        elif not sequence.views.ready(image):
            self.looking = True
        elif not self.image:
            rest = image.end - sequence.filled
            count = rest if image.whole else min(rest, self.budget)
            if not image.whole or count <= self.room:
                self._append(Work(sequence, min(count, self.room), image))

    def _append(self, work: Work) -> None:
        self.budget -= work.count
        self.room -= work.count
        self.image |= work.image is not None
        self.plan.append(work)


class Scheduler:
    """First come, first served; a sequence that came later waits, is computed later and is preempted first."""

    def __init__(self, kv: KVCache, *, slots: int, batch_tokens: int, prefill_tokens: int, stats: EngineStats) -> None:
        self._kv = kv
        self._slots = slots
        self._batch_tokens = batch_tokens
        self._stats = stats
        self._arrivals = 0
        self.pace = Pace(min(prefill_tokens, batch_tokens))
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []  # by arrival

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    def submit(self, sequence: Sequence) -> None:
        self._arrivals += 1
        sequence.number = self._arrivals
        self.waiting.append(sequence)

    def finish(self, sequence: Sequence) -> None:
        """Takes a sequence out, wherever it is; its cells stay for reuse."""
        if sequence.slot >= 0:
            self._release(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def schedule(self) -> list[Work]:
        """The work of one step, decoding first. Empty when idle, or when all wait for a picture to be looked at."""
        plan = self._plan_decoding()
        used = sum(work.count for work in plan)
        budget = self._batch_tokens - used
        if plan:
            budget = min(budget, max(1, self.pace.prompt_tokens - used))
        prefill = _Prefill(budget, self._kv.available_cells - used)
        for sequence in self.running:
            if not sequence.decoding and not prefill.over:
                prefill.add(sequence)
        self._admit(prefill, used)
        plan += prefill.plan
        if not plan and self.running and not prefill.looking:  # prompts that cannot grow because of each other
            self.preempt(self.running[-1])
            return self.schedule()
        assert self._kv.make_room(sum(work.count for work in plan))
        return plan

    def _plan_decoding(self) -> list[Work]:
        while True:
            plan, left = [], self._batch_tokens
            for sequence in self.running:
                if sequence.decoding and left:
                    plan.append(Work(sequence, min(sequence.pending, left)))
                    left -= plan[-1].count
            if self._kv.available_cells >= self._batch_tokens - left:
                return plan
            self.preempt(self.running[-1])

    def _admit(self, prefill: _Prefill, decoding: int) -> None:
        """Lets waiting prompts in, in order, while there are slots, cells and, in this step, tokens left."""
        promised = decoding + sum(sequence.pending for sequence in self.running if not sequence.decoding)
        for sequence in list(islice(self.waiting, self._slots - len(self.running))):
            if prefill.over:
                break
            match = self._kv.find(sequence.tokens)
            if match.length - match.ready >= SHARED_PREFIX:
                continue  # it keeps its place and its slot until the prefix is there
            promised += sequence.length - match.ready
            headroom = HEADROOM * len(self.running)
            if self.running and promised + match.unpinned + headroom > self._kv.available_cells:
                break
            self._start(sequence, match)
            prefill.room -= match.unpinned
            prefill.add(sequence)

    def _start(self, sequence: Sequence, match: Match) -> None:
        self.waiting.remove(sequence)
        sequence.slot = self._kv.admit(sequence.tokens, match)
        sequence.filled = match.ready
        sequence.views.look(match.ready)
        self.running.append(sequence)
        self.running.sort(key=lambda one: one.number)
        if not sequence.started:
            sequence.started = True
            sequence.stream.cached_tokens = min(match.ready, len(sequence.request.tokens))
            self._stats.cached_tokens += sequence.stream.cached_tokens

    def preempt(self, sequence: Sequence) -> None:
        """Takes the slot of a sequence, which will go on where it is; its cells are reused as far as they survive."""
        self._release(sequence)
        self.waiting.appendleft(sequence)
        self._stats.preemptions += 1

    def _release(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self._kv.retire(sequence.slot, sequence.tokens[: sequence.filled])
        sequence.views.look_away()
        sequence.slot, sequence.filled, sequence.decoding = -1, 0, False
