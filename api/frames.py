"""WebSocket frames: what clients send, and the JSON that answers them.

A server frame is an event as SSE has it, with the `stream_id` of its lane if it has one. Only an error is another: it
nests what went wrong (`ResponseWsError` in the types of `openai` 3.54).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from api.errors import ApiError, shown
from api.validation import decode_body
from shared.schema.request import MAX_STREAM_ID, CreateFrame


class SteerFrame(Struct, kw_only=True, forbid_unknown_fields=True):
    """A wish to add input to a running response. Local models cannot take any: it is given back."""

    type: Literal["response.steer"]
    previous_response_id: str
    input: Raw


class _Typed(Struct):
    type: Any = None
    stream_id: Any = None


class _Error(Struct, kw_only=True):
    code: str | None
    message: str
    param: str | None
    type: str
    headers: dict[str, str] | UnsetType = UNSET


class _ErrorFrame(Struct, tag_field="type", tag="error", kw_only=True):
    status: int
    error: _Error
    stream_id: str | UnsetType = UNSET


class _SteerFailed(Struct, tag_field="type", tag="response.steer.failed", kw_only=True):
    error: dict[str, str]
    sequence_number: int = 0
    steer: dict[str, Any]


_typed = msgspec.json.Decoder(_Typed)
_create = msgspec.json.Decoder(CreateFrame)
_steer = msgspec.json.Decoder(SteerFrame)
_encode = msgspec.json.Encoder().encode


def read_frame(data: bytes, most_bytes: int) -> CreateFrame | SteerFrame:
    """A client's frame. Raises ApiError."""
    if len(data) > most_bytes:
        raise ApiError(413, f"The frame is larger than this server allows ({most_bytes} bytes).", code="body_too_large")
    kind = decode_body(_typed, data).type
    if kind == "response.steer":
        return decode_body(_steer, data)
    if kind != "response.create":
        message = f"type is {shown(repr(kind))}, expected 'response.create'."
        raise ApiError(400, message, param="type", code="invalid_value")
    frame = decode_body(_create, data)
    if frame.background:
        message = "`background` is not supported over WebSocket: a response ends with its connection."
        raise ApiError(400, message, param="background", code="unsupported_parameter")
    return frame


def lane_of(data: bytes) -> str | None:
    """The `stream_id` of a frame that cannot be read as a whole, for the answer to it."""
    try:
        stream_id = _typed.decode(data).stream_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return stream_id if isinstance(stream_id, str) and 0 < len(stream_id) <= MAX_STREAM_ID else None


def in_lane(event: bytes, stream_id: str | None) -> bytes:
    """An encoded event with the `stream_id` of its lane added at its end; nothing is encoded again."""
    return event if stream_id is None else b'%b,"stream_id":%b}' % (event[:-1], _encode(stream_id))


def error_frame(error: ApiError, stream_id: str | None = None) -> bytes:
    detail = error.detail
    return _encode(
        _ErrorFrame(
            status=error.status,
            error=_Error(
                code=detail.code,
                message=detail.message,
                param=detail.param,
                type=detail.type,
                headers=dict(error.headers) if error.headers else UNSET,
            ),
            stream_id=UNSET if stream_id is None else stream_id,
        )
    )


def steer_failed(frame: SteerFrame) -> bytes:
    """Gives the input of a steering frame back."""
    message = "Local models do not support steering. Send the input with the next `response.create`."
    return _encode(
        _SteerFailed(
            error={"type": "invalid_request_error", "code": "steering_not_supported", "message": message},
            steer={"previous_response_id": frame.previous_response_id, "input": frame.input},
        )
    )
