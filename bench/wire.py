"""What the clients received, read: HTTP, server-sent events, and the events of a response."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from math import nan
from typing import Any

import msgspec
from msgspec import Struct

from bench.load import Received

TERMINAL = ("response.completed", "response.incomplete", "response.failed")
DELTAS = ("response.output_text.delta", "response.reasoning_text.delta")


class _Usage(Struct):
    output_tokens: int = 0


class _Response(Struct):
    usage: _Usage | None = None


class Event(Struct):
    """The parts of an event that the benchmarks look at."""

    type: str
    sequence_number: int = -1
    delta: Any = ""
    text: Any = ""
    item_id: str = ""
    response: _Response | None = None

    @property
    def characters(self) -> int:
        """Of generated text."""
        return len(self.delta) if self.type in DELTAS and isinstance(self.delta, str) else 0


_decode = msgspec.json.Decoder(Event).decode


@dataclass
class Stream:
    """One streamed response as its client saw it."""

    sent: float
    status: int
    events: list[tuple[float, Event]]
    done: bool  # `data: [DONE]` came
    closed: bool
    body: bytes = b""  # of an answer that is no stream
    problems: list[str] = field(default_factory=list)  # bytes that could not be read

    @cached_property
    def tokens(self) -> int:
        """As the terminal event counts them; without that, one for each delta."""
        for _, event in reversed(self.events):
            if event.response is not None and event.response.usage is not None:
                return event.response.usage.output_tokens
        return sum(event.characters > 0 for _, event in self.events)

    @cached_property
    def text_times(self) -> list[tuple[float, int]]:
        """When how many characters of text came."""
        return [(time, event.characters) for time, event in self.events if event.characters]

    @cached_property
    def text(self) -> str:
        """The answer, without reasoning."""
        return "".join(event.delta for _, event in self.events if event.characters and event.type == DELTAS[0])

    @property
    def first_text(self) -> float:
        """When the first text came, in seconds since the request; infinite if none did."""
        return self.text_times[0][0] - self.sent if self.text_times else float("inf")

    @property
    def first_event(self) -> float:
        return self.events[0][0] - self.sent if self.events else float("inf")

    def tokens_between(self, start: float, end: float) -> float:
        """Tokens that came after `start` and not after `end`, by their share of all characters."""
        everything = sum(count for _, count in self.text_times)
        inside = sum(count for time, count in self.text_times if start < time <= end)
        return self.tokens * inside / everything if everything else 0.0

    def faults(self) -> list[str]:
        """What is wrong with the stream: every event has to be there once, in order, with the texts adding up."""
        if self.status != 200:
            return [f"status {self.status}: {self.body[:200].decode(errors='replace')}"]
        faults = list(self.problems)
        kinds = [event.type for _, event in self.events]
        numbers = [event.sequence_number for _, event in self.events]
        if numbers != list(range(len(numbers))):
            wrong = next(i for i, number in enumerate(numbers) if number != i)
            faults.append(f"event {wrong} has the sequence_number {numbers[wrong]}")
        if kinds[:1] != ["response.created"]:
            faults.append(f"begins with {kinds[:1]}")
        if not kinds or kinds[-1] not in TERMINAL:
            faults.append(f"ends with {kinds[-1:]}")
        if kinds and kinds[-1] == "response.failed":
            faults.append("failed")
        return faults + self._text_faults()

    def _text_faults(self) -> list[str]:
        spoken: dict[str, str] = {}
        faults = []
        for _, event in self.events:
            if event.type in DELTAS and isinstance(event.delta, str):
                spoken[event.item_id] = spoken.get(event.item_id, "") + event.delta
            elif event.type in ("response.output_text.done", "response.reasoning_text.done"):
                said = spoken.pop(event.item_id, "")
                if said != event.text:
                    faults.append(f"{len(said)} characters of deltas, but the text of {event.type} is another")
        return faults


def window(streams: list[Stream]) -> tuple[float, float]:
    """From when the last stream began to speak to when the first one stopped: all of them run in between."""
    return max(s.text_times[0][0] for s in streams), min(s.text_times[-1][0] for s in streams)


def rate(streams: list[Stream]) -> float:
    """Tokens per second of all streams together while all of them run; not a number if they never did."""
    if not all(stream.text_times for stream in streams):
        return nan
    start, end = window(streams)
    return sum(stream.tokens_between(start, end) for stream in streams) / (end - start) if end > start else nan


def throughput(streams: list[Stream]) -> float:
    """Tokens per second from the first request to the last text, whether the streams ran at once or not."""
    ends = [stream.text_times[-1][0] for stream in streams if stream.text_times]
    return sum(s.tokens for s in streams) / (max(ends) - min(s.sent for s in streams)) if ends else nan


def read(received: Received) -> Stream:
    """The stream in what came on a connection."""
    reader = _Reader()
    for time, data in zip(received.times, received.data, strict=True):
        reader.feed(time, data)
    stream = Stream(received.sent, reader.status, [], False, received.closed, bytes(reader.other))
    for time, data in reader.events:
        if data == b"[DONE]":
            stream.done = True
            continue
        try:
            stream.events.append((time, _decode(data)))
        except msgspec.MsgspecError as error:
            stream.problems.append(f"unreadable event: {error}")
    return stream


class _Reader:
    """HTTP/1.1 with a chunked or plain body, and the `data` of server-sent events in it."""

    def __init__(self) -> None:
        self.status = 0
        self.events: list[tuple[float, bytes]] = []
        self.other = bytearray()  # a body that is no event stream
        self._buffer = bytearray()
        self._lines = bytearray()
        self._chunked = self._streams = self._in_body = False

    def feed(self, time: float, data: bytes) -> None:
        self._buffer += data
        if not self._in_body and not self._read_head():
            return
        for body in self._bodies():
            if not self._streams:
                self.other += body
                continue
            self._lines += body.replace(b"\r\n", b"\n")
            *frames, rest = self._lines.split(b"\n\n")
            self._lines = bytearray(rest)
            for frame in frames:
                lines = [line[5:].strip() for line in frame.split(b"\n") if line.startswith(b"data:")]
                if lines:
                    self.events.append((time, bytes(b"\n".join(lines))))

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._buffer[:end]).decode("latin-1")
        del self._buffer[: end + 4]
        self.status = int(head.split(" ", 2)[1])
        lowered = head.lower()
        self._chunked = "transfer-encoding: chunked" in lowered
        self._streams = "content-type: text/event-stream" in lowered
        self._in_body = True
        return True

    def _bodies(self) -> Iterator[bytes]:
        if not self._chunked:
            yield bytes(self._buffer)
            self._buffer.clear()
            return
        while (end := self._buffer.find(b"\r\n")) > 0:
            size = int(self._buffer[:end].split(b";")[0], 16)
            if len(self._buffer) < end + 2 + size + 2:
                return
            yield bytes(self._buffer[end + 2 : end + 2 + size])
            del self._buffer[: end + 4 + size]


def check(streams: list[Stream]) -> None:
    """Raises RuntimeError when a stream is not as it must be: a figure from broken streams means nothing."""
    faults = [f"stream {i}: {fault}" for i, stream in enumerate(streams) for fault in stream.faults()]
    if faults:
        raise RuntimeError("; ".join(faults[:5]))
