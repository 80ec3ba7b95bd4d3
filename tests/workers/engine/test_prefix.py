"""The prefix tree against a dictionary of lists."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workers.engine.prefix import PrefixTree

# few tokens and short sequences, so that much is shared
sequences = st.lists(st.integers(0, 2), max_size=12)
operations = st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), sequences)), max_size=40)


def array(tokens: list[int]) -> np.ndarray:
    return np.array(tokens, np.int32)


def begins(tokens: list[int], prefix: list[int]) -> bool:
    return tokens[: len(prefix)] == prefix


@given(operations, st.lists(sequences, min_size=1, max_size=5))
def test_matches_are_those_of_a_naive_search(
    steps: list[tuple[int, list[int] | None]], queries: list[list[int]]
) -> None:
    tree, known = PrefixTree(), dict[int, list[int]]()
    for sequence, tokens in steps:
        if sequence in known:
            tree.remove(sequence)
            del known[sequence]
        if tokens is not None:
            tree.insert(sequence, array(tokens))
            known[sequence] = tokens
        assert len(tree) == len(known)
    for query in queries:
        found = tree.match(array(query))
        lengths = [step.length for step in found]
        assert lengths == sorted(set(lengths))
        longest = max(
            (n for n in range(1, len(query) + 1) if any(begins(tokens, query[:n]) for tokens in known.values())),
            default=0,
        )
        assert (lengths[-1] if lengths else 0) == longest
        for step in found:
            assert step.sequences == {s for s, tokens in known.items() if begins(tokens, query[: step.length])}
        # wherever a sequence parts from the query, there is a step
        for tokens in known.values():
            shared = next((i for i, (a, b) in enumerate(zip(tokens, query, strict=False)) if a != b), None)
            shared = min(len(tokens), len(query)) if shared is None else shared
            assert shared == 0 or shared in lengths or any(length > shared for length in lengths)


@given(st.lists(sequences, min_size=1, max_size=8))
def test_nothing_is_left_when_all_are_removed(all_tokens: list[list[int]]) -> None:
    tree = PrefixTree()
    for sequence, tokens in enumerate(all_tokens):
        tree.insert(sequence, array(tokens))
    for sequence in range(len(all_tokens)):
        tree.remove(sequence)
    assert not tree._root.children
    assert not tree._root.sequences


def test_edges_are_joined_again_when_a_branch_goes() -> None:
    tree = PrefixTree()
    tree.insert(0, array([1] * 1000))
    for length in range(1, 100):
        tree.insert(1, array([1] * length + [2]))
        tree.remove(1)
    (edge,) = tree._root.children.values()
    assert len(edge.tokens) == 1000
