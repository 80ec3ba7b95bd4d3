"""The job that this process runs which may be to blame for workers that were lost: one at a time.

A job that ends its process takes all down that run beside it, and they are lost with it as often as it is. So each of
them runs alone among its like until it has shown that it goes on; the one that never does is found out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Suspects:
    """Whether a claim may bring a suspect. All models of the process share it, as they share its end."""

    def __init__(self) -> None:
        self._running: tuple[str, str] | None = None  # job id, and the token of its lease
        self._claiming = False
        self.on_room: Callable[[], None] = _nothing  # called when another one may be taken

    @contextmanager
    def claiming(self) -> Iterator[int]:
        """How many suspects a claim may bring; while it is under way no other one brings any."""
        free = self._running is None and not self._claiming
        self._claiming |= free
        try:
            yield int(free)
        finally:
            if free:
                self._claiming = False

    def begin(self, job_id: str, token: str) -> None:
        """A suspect was claimed."""
        self._running = (job_id, token)

    def clear(self, job_id: str, token: str) -> None:
        """This run of a job, suspect or not, has gone on or has ended."""
        if self._running == (job_id, token):
            self._running = None
            self.on_room()


def _nothing() -> None:
    """Nobody waits for room."""
