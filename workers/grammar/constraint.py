"""The engine's `Constraint` on llguidance, and the budget that closes a model's thinking."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

import numpy as np
from llguidance import LLExecutor, LLMatcher
from numpy.typing import NDArray

from workers.dialects.base import Parser

GRACE = 8  # a budget may be exceeded by one part in so many, to the end of a line


class ConstraintBroken(Exception):
    """The output left its grammar, or following it took more than llguidance's limits allow."""


class ThinkingBudget:
    """Closes the thinking of one output when it has used up its tokens, at the end of a line where one is near."""

    def __init__(self, parser: Parser, piece: Callable[[int], bytes], tokens: int, closing: Sequence[int]) -> None:
        """`parser`: a fresh one for this output; `closing`: the tokens that end the thinking."""
        self._parser = parser
        self._piece = piece
        self._left = tokens
        self._grace = tokens // GRACE
        self._closing = list(closing)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._over = False  # the thinking has ended
        self._line_ended = True

    def accept(self, token: int) -> None:
        if self._over:
            return
        text = self._decode(self._piece(token))
        thought = self._parser.reasoning
        self._parser.feed(text)
        if self._parser.reasoning:
            self._left -= 1
            self._line_ended = text.endswith("\n")
        else:
            self._over = thought

    def closing(self) -> list[int]:
        """The tokens that end the thinking now, once; else none."""
        if self._over or not self._parser.reasoning or self._left > 0:
            return []
        if not self._line_ended and self._left > -self._grace:
            return []
        self._over = True
        return self._closing


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

    def forced_tokens(self) -> Sequence[int]:
        if self._budget is not None and (closing := self._budget.closing()):
            allowed = len(closing) if self._matcher is None else self._matcher.validate_tokens(closing)
            return closing[:allowed]
        return self._matcher.compute_ff_tokens() if self._matcher is not None else ()

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
