"""Remote MCP servers, as a client: lists their tools and calls them, through the official SDK."""

from workers.mcp.closings import Closings
from workers.mcp.failure import ServerFailed
from workers.mcp.places import Room
from workers.mcp.servers import Servers, load_sdk

__all__ = ["Closings", "Room", "ServerFailed", "Servers", "load_sdk"]
