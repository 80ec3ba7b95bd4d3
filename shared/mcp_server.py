"""Remote MCP servers as requests name them, and how they travel to the worker: sealed, for the time of the job."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import msgspec
from msgspec import Struct, field

from shared.mcp_secrets import replaced, secrets_of
from shared.sealing import MCP_SERVERS, Sealer


class Server(Struct, kw_only=True, frozen=True, dict=True):
    """One `mcp` tool of a request. All but the label may be secret, so a repr shows nothing else."""

    label: str
    url: str
    authorization: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Server(label={self.label!r})"

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """What must not come back from the server, in all its spellings, longest first. Finding them takes a while."""
        return secrets_of(self.url, self.authorization, self.headers)

    def hide(self, text: str) -> str:
        """A text that came from the server, without the secrets that it was sent: servers like to quote them. Goes
        through the text once for each secret."""
        return replaced(text, self.secrets)

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


_servers = msgspec.json.Decoder(list[Server])


def seal(servers: Sequence[Server], sealer: Sealer, owner: str) -> str:
    """The servers as text that only a worker of this deployment can read."""
    return sealer.seal(msgspec.json.encode(servers).decode(), owner=owner, purpose=MCP_SERVERS)


def unseal(sealed: str, sealer: Sealer, owner: str) -> list[Server]:
    """The servers that were sealed. Raises SealBroken."""
    return _servers.decode(sealer.open(sealed, owner=owner, purpose=MCP_SERVERS))
