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
        self._waiting: list[Callable[[], None]] = []

    @contextmanager
    def claiming(self) -> Iterator[int]:
        """How many suspects a claim may bring; while it is under way no other one brings any."""
        if not self._free:
            yield 0
            return
        self._claiming = True
        try:
            yield 1
        finally:
            self._claiming = False
            self._tell()

    def begin(self, job_id: str, token: str) -> None:
        """A suspect was claimed."""
        self._running = (job_id, token)

    def clear(self, job_id: str, token: str) -> None:
        """This run of a job, suspect or not, has gone on or has ended."""
        if self._running == (job_id, token):
            self._running = None
            self._tell()

    def wait(self, wake: Callable[[], None]) -> None:
        """`wake` is called, once, as soon as another suspect may be claimed."""
        if wake not in self._waiting:
            self._waiting.append(wake)
        self._tell()

    @property
    def _free(self) -> bool:
        return self._running is None and not self._claiming

    def _tell(self) -> None:
        if self._free:
            waiting, self._waiting = self._waiting, []
            for wake in waiting:
                wake()
