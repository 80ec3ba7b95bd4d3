"""What must not be left half done. A client that leaves cancels its handler, sometimes twice: once with the failing
write, once with the lost connection."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


async def uninterrupted(work: Coroutine[None, None, T]) -> T:
    """What `work` returns. A cancellation that comes meanwhile is raised when `work` is done."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
