"""Remote MCP servers, as a client: lists their tools and calls them, through the official SDK."""

from shared.mcp_server import Server
from shared.schema.mcp import HttpError, McpCallError, McpListToolsTool, McpProtocolError, McpToolExecutionError
from workers.mcp.failure import ServerFailed
from workers.mcp.servers import Servers, load_sdk

__all__ = [
    "HttpError",
    "McpCallError",
    "McpListToolsTool",
    "McpProtocolError",
    "McpToolExecutionError",
    "Server",
    "ServerFailed",
    "Servers",
    "load_sdk",
]
