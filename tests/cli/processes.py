"""Waiting for processes that are not our children."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LONGEST_SECONDS = 60.0


@contextmanager
def gone(pid: int) -> Iterator[Callable[[], None]]:
    """Holds on to process `pid`; the function it gives returns when that has ended."""
    descriptor = os.pidfd_open(pid)
    try:

        def wait() -> None:
            readable, _, _ = select.select([descriptor], [], [], LONGEST_SECONDS)
            assert readable, f"process {pid} is still there"

        yield wait
    finally:
        os.close(descriptor)
