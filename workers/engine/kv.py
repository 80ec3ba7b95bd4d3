"""The KV cache: which sequence holds which cells, what a new prompt can share, and what goes when cells run out.

llama.cpp keeps one pool of cells for all sequences (`kv_unified`). A cell belongs to every sequence that shares its
token, so forking a prefix (`seq_cp`) costs no cells. llama.cpp does not tell how many cells are in use; `CellPool`
mirrors its bookkeeping, so that nothing is ever decoded for which there is no room.

A finished sequence stays as a donor of its prefix until its cells or its id are needed (the least recently used goes
first, from its end), or until it is not worth keeping: see `lifetime`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workers.engine.images import cut
from workers.engine.prefix import PrefixTree, Step, Tokens

TRIMMED = 256  # cells taken from a donor at once at least: a call to llama.cpp walks the whole pool


class Memory(Protocol):
    """What the cache asks of llama.cpp."""

    def copy(self, source: int, target: int, end: int) -> None:
        """Makes what `source` has before the position `end` the beginning of the empty sequence `target`."""

    def remove(self, sequence: int, start: int) -> None:
        """Forgets the tokens of `sequence` from position `start` on."""

    def first_position(self, sequence: int) -> int:
        """The earliest position of which everything is still there (sliding windows forget older ones)."""


class CellPool:
    """A mirror of llama.cpp's cells. The ids are our own; only how many are free has to agree.

    Cells that a running sequence adds are only counted until it matters who shares them; then they get their ids.
    """

    def __init__(self, cells: int, sequences: int, context_length: int) -> None:
        self.cells = cells
        self.free = cells
        self.pinned = 0  # cells of running sequences
        self.lengths = [0] * sequences  # cells of each sequence
        self._identified = [0] * sequences  # those that have ids, from the start
        self._table = np.empty((sequences, context_length), np.int32)  # pages nobody touches cost nothing
        self._stack = np.arange(cells, dtype=np.int32)  # ids nobody has are stack[:top]
        self._top = cells
        self._holders = np.zeros(cells, np.int16)
        self._pins = np.zeros(cells, np.int16)  # of the holders, those running

    def take(self, sequence: int, count: int) -> None:
        """Gives a running sequence more cells."""
        assert count <= self.free
        self.free -= count
        self.pinned += count
        self.lengths[sequence] += count

    def share(self, source: int, target: int, length: int) -> None:
        """Lets the empty, running sequence `target` hold the first `length` cells of `source` too."""
        cells = self._ids(source)[:length]
        self._table[target, :length] = cells
        self.lengths[target] = self._identified[target] = length
        self._holders[cells] += 1
        self._pins[cells] += 1
        self.pinned += int(np.count_nonzero(self._pins[cells] == 1))

    def unpin(self, sequence: int) -> None:
        """The sequence no longer runs."""
        cells = self._ids(sequence)
        self._pins[cells] -= 1
        self.pinned -= int(np.count_nonzero(self._pins[cells] == 0))

    def release(self, sequence: int, start: int = 0) -> None:
        """A sequence that does not run lets go of its cells from `start` on."""
        cells = self._ids(sequence)[start:]
        self._holders[cells] -= 1
        freed = cells[self._holders[cells] == 0]
        self._stack[self._top : self._top + len(freed)] = freed
        self._top += len(freed)
        self.free += len(freed)
        self.lengths[sequence] = self._identified[sequence] = start

    def unpinned(self, sequence: int, length: int) -> int:
        """How many of a sequence's first `length` cells only donors hold."""
        return int(np.count_nonzero(self._pins[self._ids(sequence)[:length]] == 0))

    def own(self, sequence: int) -> int:
        """How many cells nobody else holds: they are the sequence's last ones."""
        return int(np.count_nonzero(self._holders[self._ids(sequence)] == 1))

    def _ids(self, sequence: int) -> NDArray[np.int32]:
        start, end = self._identified[sequence], self.lengths[sequence]
        if start < end:  # only a running sequence has cells without ids
            self._top -= end - start
            cells = self._stack[self._top : self._top + end - start]
            self._table[sequence, start:end] = cells
            self._holders[cells] = 1
            self._pins[cells] = 1
            self._identified[sequence] = end
        return self._table[sequence, :end]


@dataclass(frozen=True, slots=True)
class Match:
    """What a prompt has in common with the sequences in the cache."""

    length: int = 0  # tokens, some of which a running sequence may still have to compute
    ready: int = 0  # tokens that can be shared now
    source: int = -1  # the sequence to share them from
    unpinned: int = 0  # cells that sharing them takes from what is available


NO_MATCH = Match()


def _same(tokens: Tokens, length: int) -> int:
    return length


class KVCache:
    """Sequence ids and cells, and the prefixes in them."""

    def __init__(
        self,
        memory: Memory,
        *,
        cells: int,
        sequences: int,
        context_length: int,
        whole_only: bool = False,
        window: int = 0,
        lifetime: int = 1 << 62,
        position: Callable[[Tokens, int], int] = _same,
    ) -> None:
        """
        `whole_only`: the model's memory is a state that cannot drop a suffix (recurrent, hybrid); only all of a
        finished sequence can be continued. `window`: the sliding window of the model's attention, 0 for none.
        `lifetime`: a donor that nobody used while so many tokens were generated is dropped. Attention walks the cells
        of donors too, so keeping one costs time with every token; after `lifetime` it has cost about as much as
        computing it again would. `position`: the position of the token at an index, where they are not the same.
        """
        self._memory = memory
        self._pool = CellPool(cells, sequences, context_length)
        self._tree = PrefixTree()
        self._tokens: dict[int, Tokens] = {}  # what the tree knows of each sequence
        self._ids = list(range(sequences))[::-1]
        self._donors: OrderedDict[int, int] = OrderedDict()  # by last use: when that was, in generated tokens
        self._active: set[int] = set()  # sequences that run
        self._clock = 0
        self._whole_only = whole_only
        self._window = window
        self._lifetime = lifetime
        self._position = position

    @property
    def cells(self) -> int:
        return self._pool.cells

    @property
    def free_cells(self) -> int:
        return self._pool.free

    @property
    def available_cells(self) -> int:
        """Free cells and those that only donors hold."""
        return self._pool.cells - self._pool.pinned

    @property
    def donors(self) -> int:
        return len(self._donors)

    @property
    def running(self) -> int:
        return len(self._active)

    def find(self, tokens: Tokens) -> Match:
        """The longest prefix of `tokens` that the cache has or will have, short of the last token: that one is always
        computed, for its logits."""
        steps = self._tree.match(tokens[:-1])
        if not steps:
            return NO_MATCH
        best, source = 0, -1
        for step in reversed(steps):
            if step.length <= best:
                break
            for sequence in step.sequences:
                ready = self._ready(sequence, tokens, step.length)
                if ready > best:
                    best, source = ready, sequence
                    if ready == step.length:
                        break
        length = best if self._whole_only else max(best, cut(tokens, self._coming(steps)))
        return Match(length, best, source, self._pool.unpinned(source, best) if best else 0)

    def admit(self, tokens: Tokens, match: Match) -> int:
        """A sequence for a prompt, beginning with what `match` found ready. `tokens` must not change."""
        if match.source in self._donors:
            self._touch(match.source)
        if not self._ids:
            self.drop(next(donor for donor in self._donors if donor != match.source))
        sequence = self._ids.pop()
        if match.ready:
            self._memory.copy(match.source, sequence, self._position(tokens, match.ready))
            self._pool.share(match.source, sequence, match.ready)
        self._know(sequence, tokens)
        self._active.add(sequence)
        return sequence

    def make_room(self, cells: int) -> bool:
        """Sees that so many cells are free; donors make way. False when running sequences hold too many."""
        if cells > self.available_cells:
            return False
        while self._pool.free < cells:
            self._shrink(next(iter(self._donors)), cells - self._pool.free)
        return True

    def take(self, sequence: int, count: int) -> None:
        """Notes that a running sequence has so many more tokens in the cache; there must have been room."""
        self._pool.take(sequence, count)

    def retire(self, sequence: int, tokens: Tokens) -> None:
        """A running sequence stops, its cells hold `tokens`: it becomes a donor, unless another holds all it has."""
        self._pool.unpin(sequence)
        self._active.remove(sequence)
        self._forget(sequence)
        twin = self._holder(tokens)
        if twin is None and len(tokens):
            self._know(sequence, tokens)
            self._donors[sequence] = self._clock
            return
        self._free(sequence)
        if twin is not None and twin in self._donors:
            self._touch(twin)

    def drop(self, donor: int) -> None:
        """A donor goes."""
        del self._donors[donor]
        self._forget(donor)
        self._free(donor)

    def tick(self, generated: int) -> None:
        """Counts generated tokens, the time by which donors age."""
        self._clock += generated
        while self._donors:
            donor, used = next(iter(self._donors.items()))
            if self._clock - used <= self._lifetime:
                break
            self.drop(donor)

    def clear(self) -> None:
        """Drops all donors."""
        for donor in list(self._donors):
            self.drop(donor)

    def _coming(self, steps: list[Step]) -> int:
        """The longest prefix that a running sequence has, or will have: what only donors know never comes."""
        return next((step.length for step in reversed(steps) if not self._active.isdisjoint(step.sequences)), 0)

    def _ready(self, sequence: int, tokens: Tokens, length: int) -> int:
        """How much of the first `length` of `tokens`, which `sequence` has too, can be taken from it now."""
        filled = self._pool.lengths[sequence]
        if self._whole_only:
            return length if sequence in self._donors and filled == length == cut(tokens, length) else 0
        ready = cut(tokens, min(filled, length))
        if self._window:
            needed = max(0, self._position(tokens, ready) - self._window)
            if self._memory.first_position(sequence) > needed:
                return 0
        return ready

    def _holder(self, tokens: Tokens) -> int | None:
        """A sequence that has all of `tokens` computed."""
        steps = self._tree.match(tokens)
        if not steps or steps[-1].length < len(tokens):
            return None
        sequences = steps[-1].sequences
        return _first(other for other in sequences if self._ready(other, tokens, len(tokens)) == len(tokens))

    def _shrink(self, donor: int, cells: int) -> None:
        """Takes cells from the end of a donor, or drops it."""
        own = self._pool.own(donor)
        trimmed = max(cells, TRIMMED)
        if self._whole_only or own <= trimmed:
            self.drop(donor)
            return
        tokens = self._tokens[donor]
        length = cut(tokens, self._pool.lengths[donor] - trimmed)
        if length == 0:
            self.drop(donor)
            return
        self._forget(donor)
        self._memory.remove(donor, self._position(tokens, length))
        self._pool.release(donor, length)
        self._know(donor, tokens[:length])

    def _touch(self, donor: int) -> None:
        self._donors[donor] = self._clock
        self._donors.move_to_end(donor)

    def _know(self, sequence: int, tokens: Tokens) -> None:
        self._tokens[sequence] = tokens
        self._tree.insert(sequence, tokens)

    def _forget(self, sequence: int) -> None:
        del self._tokens[sequence]
        self._tree.remove(sequence)

    def _free(self, sequence: int) -> None:
        """Returns the cells and the id of a sequence that is in no other list any more."""
        self._memory.remove(sequence, 0)
        self._pool.release(sequence)
        self._ids.append(sequence)


def _first(sequences: Iterable[int]) -> int | None:
    return next(iter(sequences), None)
