"""The engine's `Constraint` on llguidance, and the budget that closes a model's thinking."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from llguidance import LLExecutor, LLMatcher
from numpy.typing import NDArray

from workers.dialects.base import Parser

GRACE = 8  # a budget may be exceeded by one part in so many, to the end of a line


class ConstraintBroken(Exception):
    """The output left its grammar, or following it took more than llguidance's limits allow."""


class ThinkingBudget:
    """Closes the thinking of one output when it has used up its tokens, at the end of a line where one is near.

    The line breaks that end such a line are taken back, and the text before them is tokenized together with what
    closes the thinking: the output is then what the template writes for the same thoughts, token by token, and stays
    the beginning of later prompts.
    """

    def __init__(self, parser: Parser, known: Tokens, tokens: int, closing: str) -> None:
        """`parser`: a fresh one for this output; `closing`: the text that ends the thinking."""
        self._parser = parser
        self._known = known
        self._left = tokens
        self._grace = tokens // GRACE
        self._closing = closing
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = 0
        self._breaks = 0  # line breaks at the end of what is written
        self._read_ahead = False  # the next token has been read
        self._over = False  # the thinking has ended

    def accept(self, token: int) -> None:
        if not self._over and not self._read_ahead:
            self._read(token)
        self._read_ahead = False

    def closing(self) -> list[int]:
        """The tokens that end the thinking now, once; else none."""
        return self._close(self._breaks) if self._thinking and self._left <= -self._grace else []

    def instead(self, token: int) -> list[int]:
        """The tokens that end the thinking in place of the next one; none where it may come."""
        if closing := self.closing():
            return closing
        if self._over:
            return []
        breaks_before, begun = self._breaks, not self._decoder.getstate()[0]
        self._read(token)
        self._read_ahead = True
        if not begun or not self._thinking or self._left > 0:
            return []
        text = self._known.piece(token).decode(errors="replace")
        breaks = _breaks(text)
        kept = text.rstrip()
        goes_on = not breaks or (not kept and breaks_before > len(self._closing) - len(self._closing.lstrip("\n")))
        if goes_on and self._left > -self._grace:
            return []
        if not kept:
            return self._close(breaks_before)
        whole = self._known.tokenize(kept + self._closing)
        if b"".join(map(self._known.piece, whole)) != (kept + self._closing).encode():
            return [token, *self._close(breaks)]
        self._over = True
        return whole

    @property
    def _thinking(self) -> bool:
        """Whether this is a place in the thinking at which it could end: behind no part of a character or marker."""
        if self._over or not self._parser.reasoning or self._decoder.getstate()[0]:
            return False
        return self._parser.position == self._characters

    def _read(self, token: int) -> None:
        text = self._decoder.decode(self._known.piece(token))
        thought = self._parser.reasoning
        self._parser.feed(text)
        self._characters += len(text)
        if self._parser.reasoning:
            self._left -= 1
            self._breaks = _breaks(text) + (0 if text.strip("\n") else self._breaks)
        else:
            self._over = thought

    def _close(self, breaks: int) -> list[int]:
        """`breaks`: so many line breaks are there already."""
        self._over = True
        closing = self._closing
        while breaks and closing.startswith("\n"):
            closing, breaks = closing[1:], breaks - 1
        return self._known.tokenize(closing)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a model: their bytes, and those of a text."""

    piece: Callable[[int], bytes]
    tokenize: Callable[[str], list[int]]


def _breaks(text: str) -> int:
    """Line breaks at the end of a text."""
    return len(text) - len(text.rstrip("\n"))


class OutputConstraint:
    """What one output is held to: a grammar, a thinking budget, or both."""

    _executor: LLExecutor | None = None

    def __init__(self, matcher: LLMatcher | None = None, budget: ThinkingBudget | None = None) -> None:
        self._matcher = matcher
        self._budget = budget

    @property
    def finished(self) -> bool:
        """Raises ConstraintBroken."""
        if self._matcher is None or not self._matcher.is_stopped():
            return False
        self._check()
        return True

    @property
    def free(self) -> bool:
        """Whether any token may come: only a thinking budget is kept."""
        return self._matcher is None

    def accept(self, token: int) -> None:
        """Raises ConstraintBroken."""
        if self._budget is not None:
            self._budget.accept(token)
        if self._matcher is not None and not self._matcher.consume_token(token):
            self._check()
            raise ConstraintBroken(f"the grammar does not allow token {token}")

    def instead(self, token: int) -> Sequence[int]:
        return self._allowed(self._budget.instead(token)) if self._budget is not None else ()

    def forced_tokens(self) -> Sequence[int]:
        if self._budget is not None and (closing := self._budget.closing()):
            return self._allowed(closing)
        return self._matcher.compute_ff_tokens() if self._matcher is not None else ()

    def _allowed(self, tokens: list[int]) -> Sequence[int]:
        """As many of the tokens as the grammar lets through."""
        return tokens if self._matcher is None else tokens[: self._matcher.validate_tokens(tokens)]

    @classmethod
    def _executed(cls) -> LLExecutor:
        if OutputConstraint._executor is None:
            OutputConstraint._executor = LLExecutor()
        return OutputConstraint._executor

    @staticmethod
    def fill_masks(constraints: Sequence[OutputConstraint], rows: NDArray[np.int32]) -> None:
        """Masks of all constraints at once, by llguidance's threads, without the GIL.

        Raises ConstraintBroken where a grammar has no way on or has become too costly: llguidance's mask is then that
        of an end, and the output would seem complete.
        """
        assert rows.flags["C_CONTIGUOUS"]
        matchers = []
        for index, constraint in enumerate(constraints):
            if constraint._matcher is None:
                rows[index] = -1
            else:
                matchers.append((constraint._matcher, index))
        if matchers:
            size = rows.shape[1] * rows.itemsize
            OutputConstraint._executed().unsafe_compute_mask_ptr(matchers, rows.ctypes.data, size, rows.shape[0])
        for constraint in constraints:
            constraint._check()

    def _check(self) -> None:
        if self._matcher is not None and self._matcher.is_error():
            raise ConstraintBroken(self._matcher.get_error().split("\n")[0])
