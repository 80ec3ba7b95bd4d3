"""Work on large bodies, beside the event loop: what takes long for one request is not felt by all others.

One thread for all of them: they wait for each other, and the loop never waits for more than one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

LARGE_BYTES = 128 * 1024  # what is smaller takes a few milliseconds at most

_thread = ThreadPoolExecutor(1, "large-bodies")


async def apart(size: int, work: Callable[[], T]) -> T:
    """What `work` returns or raises; `size` is how many bytes it goes through."""
    if size < LARGE_BYTES:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_thread, work)
