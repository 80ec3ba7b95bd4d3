"""How the workers of a machine share its cores."""

from __future__ import annotations

import pytest

from shared.cpu import shares, usable_cores


@pytest.mark.parametrize(
    ("cores", "workers", "expected"),
    [(8, 1, [8]), (8, 2, [4, 4]), (8, 3, [3, 3, 2]), (2, 4, [1, 1, 1, 1]), (7, 4, [2, 2, 2, 1])],
)
def test_cores_are_divided_as_equally_as_they_can_be(cores: int, workers: int, expected: list[int]) -> None:
    assert shares(cores, workers) == expected


def test_there_is_at_least_one_core() -> None:
    assert usable_cores() >= 1
