"""Server-sent events: frames around bytes that are already encoded."""

from __future__ import annotations

from collections.abc import Iterable

from shared.schema.events import event_type

PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # nginx would hold the stream back
}


def frames(events: Iterable[bytes]) -> bytes:
    """Encoded events as frames: `event: TYPE`, `data: JSON`, a blank line."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (event_type(event), event) for event in events)
