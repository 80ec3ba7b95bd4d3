"""Server-sent events: frames around bytes that are already encoded, in the dialect the client speaks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, cast

import msgspec

from api.errors import ApiError
from shared.schema.events import NestedStreamError, StreamError, event_type
from shared.settings import Settings

PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # nginx would hold the stream back
}
DIALECT_HEADER = "LlamaRelay-Dialect"

WireDialect = Literal["openai", "open-responses"]
RENAMED = {
    b"response.reasoning_text.delta": b"response.reasoning.delta",
    b"response.reasoning_text.done": b"response.reasoning.done",
}
"""Where Open Responses (2026-04-24) has another name for an event; everything else of ours is valid in both."""


class Wire:
    """How events are written to one client."""

    def __init__(self, dialect: WireDialect, send_done: bool) -> None:
        self._nests_errors = dialect == "open-responses"
        self._renamed = RENAMED if dialect == "open-responses" else {}
        self.done = DONE if send_done or dialect == "open-responses" else b""

    def frames(self, events: Iterable[bytes]) -> bytes:
        """Encoded events as frames: `event: TYPE`, `data: JSON`, a blank line."""
        return b"".join(map(self._frame, events))

    def message(self, event: bytes) -> bytes:
        """One encoded event as this client knows it."""
        renamed = self._renamed.get(event_type(event))
        return event if renamed is None else event.replace(event_type(event), renamed, 1)

    def failure(self, error: ApiError, number: int) -> bytes:
        """The frame of an `error` event, which ends a stream that has no terminal event."""
        detail = error.detail
        event = (
            NestedStreamError(sequence_number=number, error=detail)
            if self._nests_errors
            else StreamError(
                sequence_number=number, code=detail.code or detail.type, message=detail.message, param=detail.param
            )
        )
        return self._frame(msgspec.json.encode(event))

    def _frame(self, event: bytes) -> bytes:
        kind = event_type(event)
        if kind in self._renamed:
            event, kind = self.message(event), self._renamed[kind]
        return b"event: %b\ndata: %b\n\n" % (kind, event)


def wire_of(headers: Mapping[str, str], settings: Settings) -> Wire:
    """The wire a request asks for, or the setting WIRE_DIALECT. Raises ApiError for a dialect that does not exist."""
    dialect = headers.get(DIALECT_HEADER, settings.wire_dialect)
    if dialect not in ("openai", "open-responses"):
        message = f"{DIALECT_HEADER} is '{dialect}', expected 'openai' or 'open-responses'."
        raise ApiError(400, message, param=DIALECT_HEADER, code="invalid_value")
    return Wire(cast(WireDialect, dialect), settings.send_done)
