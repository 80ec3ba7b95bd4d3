"""What one client saw of one response: every event, when it came, and over which webs."""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

Event = dict[str, Any]

TERMINAL = ("response.completed", "response.incomplete", "response.failed")


class Violation(AssertionError):
    """A promise was broken."""

    def __init__(self, message: str, story: Story | None = None) -> None:
        super().__init__(message)
        self.story = story


class Story:
    """The events of one response as they reached one client. What comes twice or leaves a gap is a Violation."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.response_id: str | None = None
        self.raw: list[bytes] = []  # as they were on the wire; the place is the sequence number
        self.final: Event | None = None  # the response in the terminal event
        self.arrivals: list[float] = []  # when each event came
        self.web: str | None = None  # the front end it comes through, while it does
        self.cuts = 0
        self.posts = 0  # how often its request was sent; more than one response may come of it without a key
        self.lost = 0
        self.repeated = 0
        self.began = time.monotonic()
        self._said: list[str] = []

    @property
    def ended(self) -> bool:
        return self.final is not None

    @property
    def remote(self) -> bool:
        """Whether it uses remote tools."""
        return "remote-" in self.name

    @property
    def streaming(self) -> bool:
        return bool(self.raw) and not self.ended

    def note(self, what: str) -> None:
        """Adds a line to the story, with its second."""
        now = datetime.now(UTC).strftime("%H:%M:%S.%f")
        self._said.append(f"{now} {time.monotonic() - self.began:7.2f} s  {what}")

    def take(self, data: bytes) -> None:
        """Adds the next event. Raises Violation."""
        event: Event = json.loads(data)
        number = event["sequence_number"]
        if self.ended:
            raise Violation(f"event {number} came after the terminal event", self)
        if number != len(self.raw):
            self.repeated += number < len(self.raw)
            self.lost += max(number - len(self.raw), 0)
            raise Violation(f"event {number} came where {len(self.raw)} was due: {data[:200]!r}", self)
        self.raw.append(data)
        self.arrivals.append(time.monotonic())
        if self.response_id is None:
            self.response_id = event["response"]["id"]
        if event["type"] in TERMINAL:
            self.final = event["response"]
            self.note(f"{event['type']} ({self.final['status']}), {len(self.raw)} events")

    def events(self) -> list[Event]:
        return [json.loads(data) for data in self.raw]

    def pause_in(self, start: float, end: float) -> float | None:
        """The longest silence, in seconds, that fell between two moments; None where no event came after them."""
        pauses = []
        before = start
        for arrival in self.arrivals[bisect_right(self.arrivals, start) :]:
            pauses.append(arrival - before)
            before = arrival
            if arrival > end:
                break
        return max(pauses, default=None)

    @property
    def longest_silence(self) -> tuple[float, int]:
        """Seconds without an event, and the event that ended it."""
        gaps = [(after - before, at) for at, (before, after) in enumerate(pairwise(self.arrivals), 1)]
        return max(gaps, default=(0.0, 0))

    def forget(self) -> None:
        """Drops the events' bytes; what has been checked is not needed any more."""
        self.raw = []

    def __str__(self) -> str:
        last = self.raw[-1].decode(errors="replace")[:300] if self.raw else "none"
        head = f"{self.name} {self.response_id}: {len(self.raw)} events, last: {last}"
        return "\n".join([head, *self._said])
