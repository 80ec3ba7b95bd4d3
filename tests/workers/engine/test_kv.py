"""The KV cache against a memory that knows which sequence holds which cell, as llama.cpp does."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.engine.kv import KVCache

CELLS, SEQUENCES, CONTEXT = 60, 6, 40


class FakeMemory:
    """Cells with positions and holders; refuses what llama.cpp would do wrong with."""

    def __init__(self, cells: int) -> None:
        self.cells: list[dict[str, object]] = []
        self.size = cells
        self.whole_only = False

    def decode(self, sequence: int, position: int, token: int) -> None:
        assert self.tokens(sequence) is not None
        assert len(self.tokens(sequence)) == position
        assert len(self.cells) < self.size, "llama_decode would find no cell"
        self.cells.append({"position": position, "token": token, "holders": {sequence}})

    def copy(self, source: int, target: int, length: int) -> None:
        assert not self.tokens(target)
        assert len(self.tokens(source)) >= length
        for cell in self._of(source)[:length]:
            cell["holders"].add(target)

    def remove(self, sequence: int, start: int) -> None:
        for cell in self._of(sequence)[start:]:
            cell["holders"].discard(sequence)
        self.cells = [cell for cell in self.cells if cell["holders"]]

    def first_position(self, sequence: int) -> int:
        return 0 if self._of(sequence) else -1

    def tokens(self, sequence: int) -> list[int]:
        return [cell["token"] for cell in self._of(sequence)]

    def _of(self, sequence: int) -> list[dict]:
        return sorted((c for c in self.cells if sequence in c["holders"]), key=lambda cell: cell["position"])


class Machine:
    """Runs sequences through a cache the way the scheduler does, with every state checked."""

    def __init__(self, whole_only: bool) -> None:
        self.memory = FakeMemory(CELLS)
        self.kv = KVCache(
            self.memory,
            cells=CELLS,
            sequences=SEQUENCES,
            context_length=CONTEXT,
            whole_only=whole_only,
            lifetime=50,
        )
        self.running: dict[int, list[int]] = {}  # all tokens it will have

    def admit(self, tokens: list[int]) -> None:
        prompt = np.array(tokens, np.int32)
        match = self.kv.find(prompt)
        assert match.ready <= match.length < len(tokens)
        if len(self.running) >= SEQUENCES - 2 or match.unpinned > self.kv.available_cells:
            return
        if match.ready:
            assert self.memory.tokens(match.source)[: match.ready] == tokens[: match.ready]
        sequence = self.kv.admit(prompt, match)
        assert sequence not in self.running
        assert self.memory.tokens(sequence) == tokens[: match.ready]
        self.running[sequence] = tokens

    def decode(self, sequence: int, count: int) -> None:
        done = len(self.memory.tokens(sequence))
        tokens = self.running[sequence][done : done + count]
        if not self.kv.make_room(len(tokens)):
            assert len(tokens) > self.kv.available_cells
            return
        for number, token in enumerate(tokens):
            self.memory.decode(sequence, done + number, token)
        self.kv.take(sequence, len(tokens))

    def retire(self, sequence: int) -> None:
        del self.running[sequence]
        self.kv.retire(sequence, np.array(self.memory.tokens(sequence), np.int32))

    def check(self) -> None:
        assert self.kv.free_cells == CELLS - len(self.memory.cells)
        pinned = sum(1 for cell in self.memory.cells if cell["holders"] & self.running.keys())
        assert self.kv.available_cells == CELLS - pinned
        assert self.kv.running == len(self.running)


@pytest.mark.parametrize("whole_only", [False, True])
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_the_mirror_agrees_with_the_memory_whatever_happens(whole_only: bool, seed: int) -> None:
    rng = random.Random(seed)
    machine = Machine(whole_only)
    for _ in range(60):
        action = rng.randrange(5)
        if action == 0:
            machine.admit([rng.randrange(2) for _ in range(rng.randrange(1, CONTEXT))])
        elif action <= 2 and machine.running:
            machine.decode(rng.choice(list(machine.running)), rng.randrange(1, 12))
        elif action == 3 and machine.running:
            machine.retire(rng.choice(list(machine.running)))
        elif action == 4:
            machine.kv.tick(rng.randrange(20))
        machine.check()
    for sequence in list(machine.running):
        machine.retire(sequence)
    machine.kv.clear()
    assert machine.memory.cells == []
    assert machine.kv.free_cells == CELLS


def filled(kv: KVCache, memory: FakeMemory, tokens: list[int]) -> int:
    """A donor of `tokens`."""
    prompt = np.array(tokens, np.int32)
    match = kv.find(prompt)
    sequence = kv.admit(prompt, match)
    assert kv.make_room(len(tokens) - match.ready)
    for position in range(match.ready, len(tokens)):
        memory.decode(sequence, position, tokens[position])
    kv.take(sequence, len(tokens) - match.ready)
    kv.retire(sequence, prompt)
    return sequence


def cache(cells: int = 2000, **options: int) -> tuple[KVCache, FakeMemory]:
    memory = FakeMemory(cells)
    return KVCache(memory, cells=cells, sequences=8, context_length=1000, **options), memory


def test_the_least_recently_used_donor_goes_first_and_from_its_end() -> None:
    kv, memory = cache()
    old, used, new = ([number] * 600 for number in (1, 2, 3))
    for tokens in (used, old, new):
        filled(kv, memory, tokens)
    filled(kv, memory, [*used, 9])  # 200 cells are free
    assert kv.make_room(300)
    assert kv.find(np.array([*old, 0], np.int32)).ready == 600 - 256
    assert kv.find(np.array([*used, 0], np.int32)).ready == 600
    assert kv.find(np.array([*new, 0], np.int32)).ready == 600


def test_a_donor_that_another_contains_is_not_kept() -> None:
    kv, memory = cache()
    filled(kv, memory, [1] * 50)
    filled(kv, memory, [1] * 40)
    assert kv.donors == 1


def test_a_donor_that_nobody_uses_is_dropped_in_time() -> None:
    kv, memory = cache(lifetime=100)
    filled(kv, memory, [1] * 50)
    kv.tick(60)
    filled(kv, memory, [1] * 50 + [2])
    kv.tick(60)
    assert kv.donors == 2  # the first was used by the second
    kv.tick(60)
    assert kv.donors == 0
    assert kv.free_cells == kv.cells


def test_a_window_that_has_moved_on_cannot_be_shared() -> None:
    kv, memory = cache(window=10)
    filled(kv, memory, [1] * 50)
    assert kv.find(np.array([1] * 30 + [2], np.int32)).ready == 30
    memory.first_position = lambda sequence: 35  # type: ignore[method-assign]
    assert kv.find(np.array([1] * 30 + [2], np.int32)).ready == 0
    assert kv.find(np.array([1] * 50 + [2], np.int32)).ready == 50


def test_what_only_donors_know_and_cannot_give_is_not_waited_for() -> None:
    class Forgetful(FakeMemory):
        def first_position(self, sequence: int) -> int:
            return 30  # a sliding window has passed the rest

    memory = Forgetful(CELLS)
    kv = KVCache(memory, cells=CELLS, sequences=SEQUENCES, context_length=CONTEXT, window=4)
    tokens = np.arange(36, dtype=np.int32)
    sequence = kv.admit(tokens, kv.find(tokens))
    for position, token in enumerate(tokens):
        memory.decode(sequence, position, int(token))
    kv.take(sequence, 36)
    assert kv.find(np.append(tokens[:20], [50, 51])).length == 20  # of a running sequence
    kv.retire(sequence, tokens)
    match = kv.find(np.append(tokens[:20], [50, 51]))
    assert (match.length, match.ready) == (0, 0)
