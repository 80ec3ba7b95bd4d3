"""What a server has answered to a POST in JSON: the SDK waits for an answer with the request's id, even when there is
none to come any more.

https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Raw, Struct


class _Reply(Struct):
    id: str | int | None = None
    method: str | None = None
    error: Raw = Raw()


class _Error(Struct, kw_only=True):
    jsonrpc: Literal["2.0"] = "2.0"
    id: str | int
    error: Raw


_decode = msgspec.json.Decoder(_Reply).decode


def reply_to(asked: str | int, body: bytes) -> bytes | None:
    """The body as an answer to the request with the id `asked`, None where it answers something else. An error without
    an id is the answer too: the server could not read ours. What is no JSON-RPC stays as it is: the SDK refuses it."""
    try:
        reply = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    if reply.method is None and str(reply.id) == str(asked):
        return body
    if reply.id is None and reply.method is None and bytes(reply.error) not in (b"", b"null"):
        return msgspec.json.encode(_Error(id=asked, error=reply.error))
    return None
