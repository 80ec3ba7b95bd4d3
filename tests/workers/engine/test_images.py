"""Image cells in arrays of tokens."""

from __future__ import annotations

import numpy as np

from workers.engine import images
from workers.engine.images import ImageNumbers, cut, position, run

PROMPT = np.array([5, 6, *run(0, 4, 2), *run(0, 4, 2), 7, *run(1, 1, 1), 8, *run(2, 2, 1), 9], np.int32)


def test_an_image_is_never_cut() -> None:
    assert [cut(PROMPT, length) for length in range(len(PROMPT) + 1)] == [
        0, 1, 2, 2, 2, 2, 6, 6, 6, 6, 10, 11, 12, 13, 13, 15, 16,
    ]  # fmt: skip


def test_positions_after_images() -> None:
    found = {length: position(PROMPT, length) for length in (0, 1, 2, 6, 10, 11, 12, 13, 15, 16)}
    assert found == {0: 0, 1: 1, 2: 2, 6: 4, 10: 6, 11: 7, 12: 8, 13: 9, 15: 10, 16: 11}


def test_no_number_is_given_twice() -> None:
    numbers = ImageNumbers()
    first = numbers.of("a", 0)
    assert numbers.of("a", 0) == first
    given = {first, numbers.of("a", 1), numbers.of("b", 0)}
    assert len(given) == 3
    for other in range(images.KNOWN_IMAGES):
        given.add(numbers.of(str(other), 0))
    assert numbers.of("a", 0) not in given  # forgotten, so it gets a new one
