"""Remote MCP servers as requests name them, and how they travel to the worker: sealed, for the time of the job."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct, field

from shared.sealing import MCP_SERVERS, Sealer


class Server(Struct, kw_only=True, frozen=True):
    """One `mcp` tool of a request. All but the label may be secret, so a repr shows nothing else."""

    label: str
    url: str
    authorization: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Server(label={self.label!r})"


_servers = msgspec.json.Decoder(list[Server])


def seal(servers: Sequence[Server], sealer: Sealer, owner: str) -> str:
    """The servers as text that only a worker of this deployment can read."""
    return sealer.seal(msgspec.json.encode(servers).decode(), owner=owner, purpose=MCP_SERVERS)


def unseal(sealed: str, sealer: Sealer, owner: str) -> list[Server]:
    """The servers that were sealed. Raises SealBroken."""
    return _servers.decode(sealer.open(sealed, owner=owner, purpose=MCP_SERVERS))
