"""What a request sends to a remote MCP server besides the protocol: its `authorization` and its `headers`."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_VALUE = re.compile(r"[\x20-\x7e\t]{0,8192}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9-]* +\S")

# They frame the message, belong to the connection, or are the protocol's own.
_TAKEN = frozenset({
    "accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
    "keep-alive", "last-event-id", "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id",
    "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip


class HeaderRefused(ValueError):
    """A header that cannot be sent. The message is for the client and shows no value."""


def request_headers(authorization: str | None, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers to send. `authorization` is an access token, sent as `Bearer`, or a scheme and its credentials; it
    stands before a header of that name. Raises HeaderRefused."""
    sent: dict[str, str] = {}
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise HeaderRefused("headers: a name may have letters, digits and - only")
        if name.lower() in _TAKEN:
            raise HeaderRefused(f"headers: '{name}' is set by this server")
        if not _VALUE.fullmatch(value):
            raise HeaderRefused(f"headers: the value of '{name}' may have at most 8192 printable ASCII characters")
        if name.lower() in sent:
            raise HeaderRefused(f"headers: '{name}' is there twice")
        sent[name.lower()] = value.strip()
    if authorization:
        if not _VALUE.fullmatch(authorization):
            raise HeaderRefused("authorization: it may have at most 8192 printable ASCII characters")
        token = authorization.strip()
        if not token:
            raise HeaderRefused("authorization: it is empty")
        sent["authorization"] = token if _SCHEME.match(token) else f"Bearer {token}"
    return sent
