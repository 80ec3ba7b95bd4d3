"""What a server may send: every message costs time, whether or not somebody waits for it, and so does each of its
values, which the SDK reads on the event loop."""

from __future__ import annotations

import time
from collections.abc import Callable

MESSAGES = 2000  # at once; progress and log messages come beside the answers
MESSAGES_PER_SECOND = 200.0  # thereafter
LINES = 50_000  # likewise: comments, and answers whose JSON is spread over lines
LINES_PER_SECOND = 1000.0
BYTES_PER_SECOND = 64 * 1024.0
ELEMENTS = 12_000  # JSON values of one message, 5 us each at worst; what strings hold is not counted
LIST_ELEMENTS = 20_000  # of a list of tools, all its pages together
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


class Elements:
    """Counts the values of JSON as it comes: objects, arrays and what is in them; not what strings hold."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._found = 0
        self._events = self._each = False
        self._start_line()
        self._returned = False  # whether the last byte was a carriage return, which a newline may follow

    def begin(self, *, events: bool = False, each: bool = False) -> None:
        """A body begins; what was counted before stays. `events`: it is a stream of events; `each`: each of them is
        counted for itself."""
        self._events, self._each = events, each
        self._start_line()
        self._returned = False

    def take(self, chunk: bytes) -> bool:
        """Whether there are not too many."""
        if not self._events:
            return self._count(chunk)
        if self._returned and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._returned = chunk.endswith(b"\r")
        first, *lines = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        fits = self._count(first)
        for line in lines:
            if self._each and not self._line:  # a blank line ends an event
                self._found = 0
            self._start_line()
            fits = self._count(line) and fits
        return fits

    def _start_line(self) -> None:
        """No string of JSON goes over a line's end: a quote in a comment must not make text of all that follows."""
        self._line = False  # whether it has begun
        self._string = False  # whether this is within a string
        self._rest = b""  # a backslash, of which it is not known yet what it escapes

    def _count(self, piece: bytes) -> bool:
        if piece:
            self._line = True
            piece = self._rest + piece
            backslashes = len(piece) - len(piece.rstrip(b"\\"))
            self._rest = b"\\" * (backslashes % 2)
            piece = piece[: len(piece) - len(self._rest)]
            parts = piece.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
            outside = b"".join(parts[self._string :: 2])
            self._string ^= len(parts) % 2 == 0
            self._found += sum(map(outside.count, (b"{", b"[", b",")))
        return self._found <= self.most


class Answer:
    """What may come of one answer, or of all pages of a list together."""

    def __init__(self, name: str, max_bytes: int, max_elements: int) -> None:
        """`name`: what errors call it."""
        self._name = name
        self._max_bytes = max_bytes
        self._bytes = 0
        self._elements = Elements(max_elements)

    def begin(self, *, events: bool, each: bool) -> None:
        """A body begins; see `Elements.begin`."""
        self._elements.begin(events=events, each=each)

    def excess(self, chunk: bytes) -> str | None:
        """Why the answer is too much with what comes now; None where it is not."""
        self._bytes += len(chunk)
        if self._bytes > self._max_bytes:
            return f"{self._name} has more than {self._max_bytes} bytes."
        if not self._elements.take(chunk):
            return too_many_elements(self._name, self._elements.most)
        return None


def too_many_elements(name: str, most: int) -> str:
    return f"{name} has more than {most} JSON values."
