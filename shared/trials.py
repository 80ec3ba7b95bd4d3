"""What one request may have tried to see whether its output can be held to what it asks for."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from shared.grammar_apart import tried_apart
from shared.remembered import Remembered
from shared.trial import validated

TRIALS = 64  # of one request; a millisecond or so each
SECONDS = 5.0  # of a processor, for all that one request asks for
FIRST_LOOK_SECONDS = 0.25  # what takes no longer is not held up by what does
FIRST_LOOK_BYTES = 16 * 1024  # of one grammar: what is longer surely takes longer
SHORT = 4096  # bytes of a grammar that llguidance reads in some milliseconds; it lets others run meanwhile
SEARCHED_BYTES = 4_000_000  # of schemas, to loosen all those of a request

_OUTCOMES: Remembered[tuple[str | None]] = Remembered(entries=4096, size=1024 * 1024)


class OutOfTime(Exception):
    """The request has had its time; after a first look it may get more."""


class Trials:
    """The trials of one request, in one thread: so many and no more, and so much time. Begins when it is made.

    What is left untried as there were so many is taken to be possible.
    """

    def __init__(self, most: int = TRIALS, seconds: float = SECONDS, *, first_look: bool = False) -> None:
        self.first_look = first_look
        self.searched = SEARCHED_BYTES  # what is left of it
        self._most = most
        self._seconds = seconds
        self._apart = 0.0
        self._begun = time.thread_time()

    @property
    def used_up(self) -> bool:
        """Whether something was left untried."""
        return self._most < 0

    @property
    def left(self) -> float:
        """Seconds of a processor."""
        return self._seconds - self._apart - (time.thread_time() - self._begun)

    def renew(self) -> None:
        """Allows as many trials as at the beginning, in the same time."""
        self._most = TRIALS

    def go_on(self) -> None:
        """Raises OutOfTime."""
        if self.left <= 0:
            raise OutOfTime

    def problem(self, grammar: str) -> str | None:
        """Why no text by the grammar, which llguidance takes, can be written; None where nothing was found. Raises
        OutOfTime."""
        self._most -= 1
        return None if self._most < 0 else self._outcome([grammar], ["tried"])

    def refusal(self, grammar: str) -> str | None:
        """Why llguidance does not take a grammar; None where it does. Raises OutOfTime."""
        if len(grammar) > SHORT:
            return self._outcome([grammar], ["validated"])
        self.go_on()
        return validated(grammar)

    def whole_problem(self, *grammars: str) -> str | None:
        """Why one of the grammars cannot be used, whatever llguidance says of it. Raises OutOfTime."""
        return self._outcome(grammars, ["validated", "tried"])

    def _outcome(self, grammars: Sequence[str], looks: Sequence[str]) -> str | None:
        text = json.dumps([grammars, looks])
        if (known := _OUTCOMES.get(text)) is not None:
            return known[0]
        self.go_on()
        if self.first_look and len(text) > FIRST_LOOK_BYTES:
            raise OutOfTime
        outcome = tried_apart(grammars, looks, self.left)
        self._apart += outcome.seconds
        if outcome.sure:
            _OUTCOMES.put(text, (outcome.problem,), len(outcome.problem or ""))
        elif self.left <= 0:
            raise OutOfTime
        return outcome.problem
