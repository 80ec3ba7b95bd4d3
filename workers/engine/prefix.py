"""Which sequence begins with the longest part of a prompt: a radix tree over token ids."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]


@dataclass(slots=True, eq=False)
class Node:
    """An edge of the tree: the tokens that lead here, and the sequences that go through or end here."""

    tokens: Tokens
    parent: Node | None
    sequences: set[int] = field(default_factory=set)
    children: dict[int, Node] = field(default_factory=dict)  # by their first token


@dataclass(frozen=True, slots=True)
class Step:
    """A prefix of `length` tokens and all sequences that begin with it (the tree's own set: do not change)."""

    length: int
    sequences: set[int]


class PrefixTree:
    """Sequences by their tokens. Lookups cost one array comparison per branch on the way, however many there are."""

    def __init__(self) -> None:
        self._root = Node(np.empty(0, np.int32), None)
        self._ends: dict[int, Node] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def insert(self, sequence: int, tokens: Tokens) -> None:
        """Adds a sequence that is not in the tree. It keeps `tokens`, which must not change."""
        node, start = self._root, 0
        node.sequences.add(sequence)
        while start < len(tokens):
            child = node.children.get(int(tokens[start]))
            if child is None:
                child = Node(tokens[start:], node)
                node.children[int(tokens[start])] = child
            shared = common_prefix(child.tokens, tokens[start:])
            if shared < len(child.tokens):
                child = _split(child, shared)
            child.sequences.add(sequence)
            node, start = child, start + shared
        self._ends[sequence] = node

    def remove(self, sequence: int) -> None:
        """Takes a sequence out, and what only it held."""
        node: Node | None = self._ends.pop(sequence)
        while node is not None:
            node.sequences.discard(sequence)
            parent = node.parent
            if parent is not None and not node.sequences:
                del parent.children[int(node.tokens[0])]
            else:
                self._join(node)
            node = parent

    def match(self, tokens: Tokens) -> list[Step]:
        """The prefixes of `tokens` at which sequences part, shortest first; the last is the longest there is."""
        steps = []
        node, start = self._root, 0
        while start < len(tokens):
            child = node.children.get(int(tokens[start]))
            if child is None:
                break
            shared = common_prefix(child.tokens, tokens[start:])
            start += shared
            steps.append(Step(start, child.sequences))
            if shared < len(child.tokens):
                break
            node = child
        return steps

    def _join(self, node: Node) -> None:
        """Makes one edge of two where nothing parts between them any more."""
        if node.parent is None or len(node.children) != 1:
            return
        (child,) = node.children.values()
        if len(child.sequences) < len(node.sequences):  # one ends here
            return
        child.tokens = np.concatenate((node.tokens, child.tokens))
        child.parent = node.parent
        node.parent.children[int(child.tokens[0])] = child


def common_prefix(a: Tokens, b: Tokens) -> int:
    """How many tokens are the same from the start on."""
    length = min(len(a), len(b))
    different = a[:length] != b[:length]
    first = int(different.argmax()) if length else 0
    return first if length and different[first] else length


def _split(node: Node, length: int) -> Node:
    """Puts a new node after the first `length` tokens of an edge and returns it."""
    assert node.parent is not None
    upper = Node(node.tokens[:length], node.parent, set(node.sequences))
    node.parent.children[int(upper.tokens[0])] = upper
    node.tokens = node.tokens[length:]
    node.parent = upper
    upper.children[int(node.tokens[0])] = node
    return upper
