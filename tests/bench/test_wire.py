"""How the clients' bytes are read: exactly, however they were cut, and with an eye for what is missing."""

from __future__ import annotations

import json
from math import isnan
from typing import Any

import pytest

from bench import wire
from bench.load import Received

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _events() -> list[dict[str, Any]]:
    usage = {"output_tokens": 3}
    item = {"item_id": "msg_1"}
    return [
        {"type": "response.created", "response": {"usage": None}},
        {"type": "response.output_text.delta", **item, "delta": " one"},
        {"type": "response.output_text.delta", **item, "delta": " two\n\n wörld"},
        {"type": "response.output_text.done", **item, "text": " one two\n\n wörld"},
        {"type": "response.completed", "response": {"usage": usage}},
    ]


def _answer(events: list[dict[str, Any]], *, newline: str = "\n") -> bytes:
    data = HEAD
    for event in events:
        numbered = {"sequence_number": _events().index(event), **event}
        frame = f"event: {event['type']}{newline}data: {json.dumps(numbered)}{newline}{newline}".encode()
        data += b"%x\r\n%b\r\n" % (len(frame), frame)
    return data + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


def _received(data: bytes, size: int) -> Received:
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return Received(10.0, [11.0 + i for i in range(len(parts))], parts, True)


@pytest.mark.parametrize("size", [1, 3, 17, 64, 10_000])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_stream_is_read_however_it_was_cut(size: int, newline: str) -> None:
    stream = wire.read(_received(_answer(_events(), newline=newline), size))
    assert stream.faults() == []
    assert stream.done
    assert stream.tokens == 3
    assert [event.characters for _, event in stream.events] == [0, 4, 12, 0, 0]


@pytest.mark.parametrize("missing", range(5))
def test_a_missing_event_is_a_fault(missing: int) -> None:
    events = _events()
    del events[missing]
    assert wire.read(_received(_answer(events), 100)).faults()


@pytest.mark.parametrize("twice", range(5))
def test_an_event_that_comes_twice_is_a_fault(twice: int) -> None:
    events = _events()
    events.insert(twice, events[twice])
    assert wire.read(_received(_answer(events), 100)).faults()


def test_an_error_is_a_fault_with_its_text() -> None:
    data = b'HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n{"error"}'
    (fault,) = wire.read(_received(data, 5)).faults()
    assert "404" in fault
    assert '{"error"}' in fault


def test_the_rate_counts_only_while_all_streams_run() -> None:
    early = _stream([1.0, 2.0, 3.0, 4.0])
    late = _stream([2.0, 3.0, 4.0, 5.0])
    assert wire.window([early, late]) == (2.0, 4.0)
    assert wire.rate([early, late]) == 2.0
    assert isnan(wire.rate([_stream([1.0, 2.0]), _stream([3.0, 4.0])]))


def _stream(times: list[float]) -> wire.Stream:
    events = [(time, wire.Event("response.output_text.delta", delta=" bacedi")) for time in times]
    return wire.Stream(0.0, 200, events, True, True)
