"""What is done right before a call is sent, when it waits for nothing else any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

Begin = Callable[[], Awaitable[None]]


async def at_once() -> None: ...
