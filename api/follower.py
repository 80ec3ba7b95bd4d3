"""Follows one response: every event once, in order, whatever pub/sub loses.

It subscribes first, then reads the log, then relays what is published. What it has seen it drops, on a gap it reads
the log, on silence it looks into the log. The log is the truth, pub/sub is only fast.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from shared.redis.event_log import READ_COUNT, decode_batch
from shared.schema.events import is_terminal


class Messages(Protocol):
    """Published batches as they come; empty after so many seconds of silence."""

    async def get(self, timeout: float) -> list[bytes]: ...


ReadLog = Callable[[int], Awaitable[list[bytes]]]
"""Reads events from a sequence number on; fewer than READ_COUNT of them means there are no more. Raises LogAway."""

AWAY_SECONDS = 0.5  # between two looks at a log that cannot be read


class LogAway(Exception):
    """The log cannot be read now, and will be again."""


class ResponseGone(Exception):
    """The response was deleted, or its log has expired, before its terminal event was seen."""


async def follow(
    messages: Messages,
    read_log: ReadLog,
    exists: Callable[[], Awaitable[bool]],
    *,
    after: int,
    fresh: bool = False,
    silence_seconds: float,
) -> AsyncIterator[list[bytes]]:
    """Events with sequence numbers above `after`, in batches, up to and including the terminal one.

    An empty batch is silence: all there is while Redis is away. `fresh`: the log is known to hold nothing above `after`
    yet. Raises ResponseGone.
    """
    following = after + 1
    behind = not fresh
    while True:
        if behind:
            try:
                events = await read_log(following)
            except LogAway:
                yield []
                await asyncio.sleep(AWAY_SECONDS)
                continue
            behind = len(events) >= READ_COUNT
            if events:
                following += len(events)
                yield events
                if is_terminal(events[-1]):
                    return
                continue
        published = await messages.get(silence_seconds)
        if not published:
            try:
                events = await read_log(following)
                if not events and not await exists():
                    events = await read_log(following)  # a deleted one may have come to its end in between
                    if not events:
                        raise ResponseGone
            except LogAway:
                yield []
                continue
            following += len(events)
            yield events
            if events and is_terminal(events[-1]):
                return
            behind = len(events) >= READ_COUNT
            continue
        new: list[bytes] = []
        for message in published:
            batch = decode_batch(message)
            if batch.first > following:
                behind = True
                break
            unseen = batch.events[following - batch.first :]
            new += unseen
            following += len(unseen)
        if new:
            yield new
            if is_terminal(new[-1]):
                return
