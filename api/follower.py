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

ReadEnd = Callable[[int], Awaitable[bytes | None]]
"""The terminal event with this number, if the response has ended; None while it runs. Raises LogAway, ResponseGone."""

AWAY_SECONDS = 0.5  # between two looks at a log that cannot be read


class LogAway(Exception):
    """The log cannot be read now, and will be again."""


class ResponseGone(Exception):
    """The response was deleted, or its log has expired, before its terminal event was seen."""


async def follow(
    messages: Messages,
    read_log: ReadLog,
    read_end: ReadEnd,
    *,
    after: int,
    fresh: bool = False,
    silence_seconds: float,
) -> AsyncIterator[list[bytes]]:
    """Events with sequence numbers above `after`, in batches, up to and including the terminal one.

    Where the response has ended and its log has nothing above `after` (it was asked for what lies behind the end, or
    the log has lost what was seen), the terminal event comes all the same, with the number that is next.
    An empty batch is silence: all there is while Redis is away. `fresh`: the log is known to hold nothing above `after`
    yet. Raises ResponseGone.
    """
    following = after + 1
    behind = not fresh
    while True:
        published = [] if behind else await messages.get(silence_seconds)
        silent = not behind and not published
        if published:
            events, behind = _unseen(published, following)
        else:
            try:
                events = await _look(following, read_log, read_end)
            except LogAway:
                yield []
                if behind:  # else it was silent for long enough
                    await asyncio.sleep(AWAY_SECONDS)
                continue
            behind = len(events) >= READ_COUNT
        following += len(events)
        if events or silent:
            yield events
        if events and is_terminal(events[-1]):
            return


async def _look(following: int, read_log: ReadLog, read_end: ReadEnd) -> list[bytes]:
    """What the log has from `following` on; its end where there is nothing and nothing will come. Raises LogAway,
    ResponseGone."""
    if events := await read_log(following):
        return events
    try:
        end = await read_end(following)
    except ResponseGone:
        if events := await read_log(following):  # a deleted one came to its end between the two looks
            return events
        raise
    if end is None:
        return []
    return await read_log(following) or [end]  # likewise


def _unseen(published: list[bytes], following: int) -> tuple[list[bytes], bool]:
    """The events from `following` on, and whether the log has to tell what comes next: there is a gap, or the end has a
    number that was seen before."""
    events: list[bytes] = []
    for message in published:
        batch = decode_batch(message)
        if batch.first > following:
            return events, True
        unseen = batch.events[following - batch.first :]
        if not unseen and is_terminal(batch.events[-1]):
            return events, True
        events += unseen
        following += len(unseen)
    return events, False
