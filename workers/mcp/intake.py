"""What the event streams of one session may bring: every message costs time, whether or not somebody waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable

MESSAGES = 2000  # at once; progress and log messages come beside the answers
MESSAGES_PER_SECOND = 200.0  # thereafter
LINES = 50_000  # likewise: comments, and answers whose JSON is spread over lines
LINES_PER_SECOND = 1000.0
BYTES_PER_SECOND = 64 * 1024.0
OPENING = 10  # messages that a stream counts for when it is opened: one that ends at once is opened again


class Bucket:
    """So much at once, and so much a second."""

    def __init__(self, most: float, per_second: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._per_second = per_second
        self._clock = clock
        self._level = most
        self._at = clock()

    def take(self, amount: float) -> bool:
        """Whether there was as much."""
        now = self._clock()
        filled = min(self._level + (now - self._at) * self._per_second, self._most)
        self._level = max(self._level, filled) - amount
        self._at = now
        return self._level >= 0

    def add(self, amount: float) -> None:
        """Allows so much more, once."""
        self._level += amount


class Intake:
    """The streams of one session, counted together. `max_body`: bytes of one answer."""

    def __init__(self, max_body: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._messages = Bucket(MESSAGES, MESSAGES_PER_SECOND, clock)
        self._lines = Bucket(LINES, LINES_PER_SECOND, clock)
        self._bytes = Bucket(max_body, BYTES_PER_SECOND, clock)
        self._max_body = max_body

    def expect(self) -> None:
        """An answer is to come on a stream that is open already."""
        self._bytes.add(self._max_body)

    def open(self) -> bool:
        """Whether one more stream that has no end may be opened."""
        return self._messages.take(OPENING)

    def flow(self, *, endless: bool) -> Flow:
        """Counts one stream; `endless`: it has no limit of its own."""
        return Flow(self._messages, self._lines, self._bytes if endless else None)


class Flow:
    """One stream of server-sent events, as it comes."""

    def __init__(self, messages: Bucket, lines: Bucket, octets: Bucket | None) -> None:
        self._messages = messages
        self._lines = lines
        self._octets = octets
        self._within = False  # a line

    def take(self, chunk: bytes) -> bool:
        """Whether what came is not too much."""
        if self._octets is not None and not self._octets.take(len(chunk)):
            return False
        lines = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        blank = sum(not line for line in lines[:-1]) - (self._within and len(lines) > 1 and not lines[0])
        self._within = bool(lines[-1]) or (self._within and len(lines) == 1)
        return self._lines.take(len(lines) - 1) and self._messages.take(blank)  # a blank line ends each message
