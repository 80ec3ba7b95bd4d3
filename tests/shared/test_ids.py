"""Ids cannot be guessed: whoever knows some knows nothing of the next."""

from __future__ import annotations

import random

import pytest

from shared.schema.ids import new_id

RANDOM_BITS = 128  # at least


@pytest.mark.parametrize("prefix", ["resp", "conv", "req"])
def test_an_id_is_a_prefix_and_random_bits_that_all_vary(prefix: str) -> None:
    ids = [new_id(prefix) for _ in range(200)]
    assert {made.partition("_")[0] for made in ids} == {prefix}
    numbers = [int(made.partition("_")[2], 16) for made in ids]
    width = 4 * len(ids[0].partition("_")[2])
    ones = zeros = 0
    for number in numbers:
        ones |= number
        zeros |= ~number
    varying = (ones & zeros & ((1 << width) - 1)).bit_count()
    assert varying >= RANDOM_BITS
    assert len(set(numbers)) == len(numbers)


def test_bits_of_an_id_do_not_go_together() -> None:
    """None is the copy, or the opposite, of another one: each tells something of its own."""
    numbers = [int(new_id("resp").partition("_")[2], 16) for _ in range(200)]
    columns = {sum((number >> bit & 1) << row for row, number in enumerate(numbers)) for bit in range(192)}
    opposite = {~column & ((1 << len(numbers)) - 1) for column in columns}
    assert len(columns | opposite) >= 2 * RANDOM_BITS


def test_no_seed_repeats_an_id() -> None:
    made = set()
    for _ in range(2):
        random.seed(1)
        made.add(new_id("resp"))
    assert len(made) == 2
