"""Remote MCP servers as requests name them, and how they travel to the worker: sealed, for the time of the job."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Struct, field

from shared.sealing import MCP_SERVERS, Sealer

HIDDEN = "<redacted>"

_SECRET_NAME = re.compile(r"auth|key|token|secret|password|cookie|credential|session|signature", re.IGNORECASE)
_SHORTEST = 6  # what is shorter is also found where it means nothing


class Server(Struct, kw_only=True, frozen=True):
    """One `mcp` tool of a request. All but the label may be secret, so a repr shows nothing else."""

    label: str
    url: str
    authorization: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Server(label={self.label!r})"

    def hide(self, text: str) -> str:
        """A text that came from the server, without the secrets that it was sent: servers like to quote them."""
        for secret in self._secrets():
            text = text.replace(secret, HIDDEN)
        return text

    def hide_within(self, value: Any) -> Any:
        """The same for every text in a JSON value, names of fields aside."""
        match value:
            case str():
                return self.hide(value)
            case list():
                return [self.hide_within(one) for one in value]
            case dict():
                return {name: self.hide_within(one) for name, one in value.items()}
        return value

    def _secrets(self) -> list[str]:
        parts = urlsplit(self.url)
        query = parse_qsl(parts.query)
        given = [value for name, value in (*self.headers.items(), *query) if _SECRET_NAME.search(name)]
        if self.authorization:
            given.append(self.authorization)
        found = {part for value in given for part in (value.strip(), value.strip().rpartition(" ")[2])}
        found |= {self.url, parts.query}
        found |= {word for word in (*parts.path.split("/"), *(value for _, value in query)) if _looks_secret(word)}
        return sorted((secret for secret in found if len(secret) >= _SHORTEST), key=len, reverse=True)


def _looks_secret(word: str) -> bool:
    """Whether a part of an address is rather a key than a word."""
    return len(word) >= 16 and any(character.isdigit() for character in word)


_servers = msgspec.json.Decoder(list[Server])


def seal(servers: Sequence[Server], sealer: Sealer, owner: str) -> str:
    """The servers as text that only a worker of this deployment can read."""
    return sealer.seal(msgspec.json.encode(servers).decode(), owner=owner, purpose=MCP_SERVERS)


def unseal(sealed: str, sealer: Sealer, owner: str) -> list[Server]:
    """The servers that were sealed. Raises SealBroken."""
    return _servers.decode(sealer.open(sealed, owner=owner, purpose=MCP_SERVERS))
