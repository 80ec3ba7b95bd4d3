"""Token masks of constrained sequences, made in a thread of their own while llama.cpp decodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from workers.engine.core import Constraint

Mask = NDArray[np.int32] | Exception
"""A row of bits, or what making it raised."""


class MaskMaker:
    def __init__(self, vocab_size: int) -> None:
        self._words = -(-vocab_size // 32)
        self._thread = ThreadPoolExecutor(1, "masks")

    def start(self, constraints: Sequence[Constraint]) -> Future[list[Mask]]:
        """Begins with the masks of `constraints`; the result is in their order."""
        return self._thread.submit(self._make, constraints)

    def close(self) -> None:
        self._thread.shutdown()

    def _make(self, constraints: Sequence[Constraint]) -> list[Mask]:
        groups: defaultdict[type[Constraint], list[int]] = defaultdict(list)
        for index, constraint in enumerate(constraints):
            groups[type(constraint)].append(index)
        masks: list[Mask] = [np.empty(0, np.int32)] * len(constraints)
        for kind, indices in groups.items():
            for index, mask in zip(indices, self._fill(kind, [constraints[i] for i in indices]), strict=True):
                masks[index] = mask
        return masks

    def _fill(self, kind: type[Constraint], constraints: list[Constraint]) -> Sequence[Mask]:
        rows = np.zeros((len(constraints), self._words), np.int32)
        try:
            kind.fill_masks(constraints, rows)
        except Exception as error:
            if len(constraints) == 1:
                return [error]
            return [mask for constraint in constraints for mask in self._fill(kind, [constraint])]  # which one is it?
        return list(rows)
