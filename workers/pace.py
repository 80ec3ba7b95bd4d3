"""How long the jobs of one model take, measured: what the front ends need to say how long a new one would wait."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

MEASURED = 64  # jobs that have ended and are looked at


class Pace:
    """The jobs that run, and the last ones that ended. Times are of this process' monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun: dict[str, float] = {}
        self._ended: deque[tuple[float, float]] = deque(maxlen=MEASURED)

    def begin(self, job_id: str) -> None:
        self._begun[job_id] = self._clock()

    def end(self, job_id: str, *, done: bool) -> None:
        """`done`: the job is over; else somebody else goes on with it, and it says nothing about how long jobs take."""
        begun = self._begun.pop(job_id)
        if done:
            self._ended.append((begun, self._clock()))

    @property
    def seconds(self) -> float | None:
        """The seconds of one slot that one job takes; None as long as none has been run.

        That is the time in which slots were taken by the number of jobs that ended in it: jobs that run for long and
        hold their slots count as well, though none of them may have ended. Before any has, it is how long those that
        run have taken already: no less than that.
        """
        now = self._clock()
        if self._ended:
            since = min(begun for begun, _ in self._ended)
            busy = sum(end - begun for begun, end in self._ended)
            busy += sum(now - max(begun, since) for begun in self._begun.values())
            return busy / len(self._ended)
        if self._begun:
            return sum(now - begun for begun in self._begun.values()) / len(self._begun)
        return None
