"""What has to be done although its caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. When its caller is cancelled, the cancellation waits until `work` is done.

    A client may leave at any moment, also while its response is being written or already being cancelled (aiohttp
    cancels a handler whose write has just failed): neither may stop half-way, or a response runs for nobody.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.exception()  # nobody asks for it any more
        raise
