"""Remote MCP servers, as a client: lists their tools and calls them, through the official SDK."""

from workers.mcp.failure import ServerFailed
from workers.mcp.servers import Servers, load_sdk

__all__ = ["ServerFailed", "Servers", "load_sdk"]
