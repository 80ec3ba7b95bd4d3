"""Where schemas and grammars are looked into: threads that nothing else waits for.

Everything has a first look; what takes longer goes on behind others of its kind, one after the other.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from shared.trials import FIRST_LOOK_SECONDS, OutOfTime, Trials

T = TypeVar("T")

_first_looks = ThreadPoolExecutor(2, "first-looks")
_long_looks = ThreadPoolExecutor(1, "long-looks")


async def looked_into(work: Callable[[Trials], T]) -> T:
    """What `work` returns or raises, in a thread. It is called again where it raises OutOfTime for its first trials."""
    try:
        return await _in(_first_looks, lambda: work(Trials(seconds=FIRST_LOOK_SECONDS, first_look=True)))
    except OutOfTime:
        return await _in(_long_looks, lambda: work(Trials()))


async def _in(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(threads, lambda: context.run(work))
