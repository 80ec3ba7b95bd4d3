"""Images among tokens: how an array of tokens says which of its cells belong to an image.

The cells of an image hold what the projector makes of it, not tokens. In arrays of tokens they are a run of negative
numbers: the first says which image it is, the second how many positions the run takes, the others fill it. So prompts
with the same image have the same numbers, and their prefixes are found as those of text are.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]

FIRST = -(1 << 24)  # and below: where a run begins
FILLER = -1
KNOWN_IMAGES = 1 << 16  # that get the same number again


class ImageNumbers:
    """A number for each image. None is given twice, so that different images never look the same."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._next = 0

    def of(self, digest: str, part: int) -> int:
        """The number of a part of an image; an image that was long forgotten gets a new one."""
        key = (digest, part)
        if key not in self._numbers:
            self._numbers[key] = self._next
            self._next += 1
            if len(self._numbers) > KNOWN_IMAGES:
                self._numbers.popitem(last=False)
        self._numbers.move_to_end(key)
        return self._numbers[key]


def run(number: int, cells: int, positions: int) -> list[int]:
    """The numbers that stand for an image of so many cells; M-RoPE gives it fewer positions."""
    assert cells > 1 or positions == 1
    return [FIRST - number, -2 - positions, *[FILLER] * (cells - 2)][:cells]


def cut(tokens: Tokens, length: int) -> int:
    """`length`, or where the image begins that so many tokens would cut in two: half an image is none."""
    if length >= len(tokens) or not FIRST < tokens[length] < 0:
        return length
    return int(np.flatnonzero(tokens[:length] <= FIRST)[-1])


def position(tokens: Tokens, length: int) -> int:
    """The position of the token at index `length`, where images take fewer positions than cells. It is in no image."""
    before = tokens[:length]
    cells = int(np.count_nonzero(before < 0))
    if not cells:
        return length
    begins = np.flatnonzero(before <= FIRST)
    following = tokens[np.minimum(begins + 1, len(tokens) - 1)]
    taken = np.where((following > FIRST) & (following < FILLER), -2 - following, 1)
    return length - cells + int(taken.sum())
