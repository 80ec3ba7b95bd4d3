"""Loops that have to go on as long as their process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()

PAUSE_SECONDS = 0.5


async def enduring(loop: Callable[[], Awaitable[None]], what: str) -> None:
    """Runs `loop` until this is cancelled. What it did not expect is logged, and it begins again: a process whose
    leases are renewed no more, or that takes no more jobs, looks alive and is not."""
    while True:
        try:
            await loop()
        except Exception:
            log.exception("loop_broke", loop=what)
        await asyncio.sleep(PAUSE_SECONDS)
