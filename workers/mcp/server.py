"""A remote MCP server as a request names it."""

from __future__ import annotations

from msgspec import Struct, field


class Server(Struct, kw_only=True, frozen=True):
    """One `mcp` tool of a request. All but the label may be secret, so a repr shows nothing else."""

    label: str
    url: str
    authorization: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Server(label={self.label!r})"
