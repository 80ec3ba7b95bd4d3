"""Tools of type `mcp`: read, checked against what the operator allows, and parted from their secrets.

Form: `Tool.Mcp` of the `openai` SDK 3.54.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Raw, Struct

from api.errors import ApiError
from shared.address_guard import AddressRefused, HostNotFound
from shared.mcp_headers import HeaderRefused, request_headers
from shared.mcp_hosts import McpHosts
from shared.mcp_server import Server
from shared.schema.tools import ApprovalFilter, McpTool, McpToolFilter
from shared.settings import Settings, SettingsError

MAX_HEADERS = 64
MAX_SERVERS = 32  # of one request: all are asked for their tools at once
NAMES_AT_ONCE = 4  # of one request, so that it cannot take all threads that look up names
REDACTED = "<redacted>"


class McpToolParam(Struct, kw_only=True):
    """As clients write it. `defer_loading` and `allowed_callers` are ignored: all tools are always loaded."""

    server_label: Annotated[str, Meta(pattern="^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
    server_url: str | None = None
    server_description: Annotated[str, Meta(max_length=4096)] | None = None
    connector_id: str | None = None
    tunnel_id: str | None = None
    allowed_tools: list[str] | McpToolFilter | None = None
    require_approval: Literal["always", "never"] | ApprovalFilter | None = None
    authorization: Annotated[str, Meta(min_length=1)] | None = None
    headers: dict[str, str] | None = None


_param = msgspec.json.Decoder(McpToolParam)


class RemoteServers:
    """What requests may do with remote MCP servers here."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError for a list of hosts that cannot be read, and for an approval that is none."""
        self._allowed = settings.allow_remote_mcp
        self._keyed = bool(settings.encryption_key)
        self._default_approval = _approval(settings.mcp_require_approval)
        self._hosts = McpHosts(settings.mcp_allowed_hosts)
        self._seconds = settings.mcp_connect_seconds

    def read(self, raw: Raw, where: str) -> tuple[McpTool, Server]:
        """The tool as it is stored and shown, and the server with its secrets. Raises ApiError, msgspec's errors."""
        self._check_allowed(where)
        param = _param.decode(raw)
        for name in ("connector_id", "tunnel_id"):
            if getattr(param, name) is not None:
                message = f"{where}.{name}: this is a service of OpenAI's own; use `server_url`."
                raise ApiError(400, message, param=f"{where}.{name}", code="unsupported_parameter")
        if not param.server_url:
            place = f"{where}.server_url"
            raise ApiError(
                400, f"Missing required parameter: '{place}'.", param=place, code="missing_required_parameter"
            )
        headers = param.headers or {}
        _check_headers(headers, param.authorization, where)
        server = Server(
            label=param.server_label, url=param.server_url, authorization=param.authorization, headers=headers
        )
        tool = McpTool(
            server_label=param.server_label,
            server_url=reduced(param.server_url),
            server_description=param.server_description,
            allowed_tools=param.allowed_tools,
            require_approval=param.require_approval or self._default_approval,
        )
        return tool, server

    async def check(self, servers: Mapping[str, Server]) -> None:
        """Raises ApiError where a server is at an address that is not allowed; the keys say where it stands. One whose
        name cannot be found now, or not in time, is left to the worker: it is the server's error, not the request's."""
        turns = asyncio.Semaphore(NAMES_AT_ONCE)

        async def check(server: Server, where: str) -> None:
            async with turns:
                await self._check(server, where)

        checks = [asyncio.create_task(check(server, where)) for where, server in servers.items()]
        try:
            async with asyncio.timeout(self._seconds):
                await asyncio.gather(*checks)
        except TimeoutError:
            return
        finally:
            for task in checks:
                task.cancel()
            await asyncio.gather(*checks, return_exceptions=True)

    async def _check(self, server: Server, where: str) -> None:
        try:
            await self._hosts.check(server.url)
        except HostNotFound:
            return
        except AddressRefused as error:
            place = f"{where}.server_url"
            raise ApiError(400, f"{place}: {error}.", param=place, code="invalid_value") from None

    def _check_allowed(self, where: str) -> None:
        if not self._allowed:
            message = (
                f"{where}: remote MCP servers are switched off here. The operator allows them with ALLOW_REMOTE_MCP=1, "
                "or `llamarelay up --allow-mcp`."
            )
            raise ApiError(400, message, param=where, code="unsupported_tool")
        if not self._keyed:
            message = f"{where} needs the setting ENCRYPTION_KEY, which this server does not have."
            raise ApiError(400, message, param=where, code="unsupported_tool")


def _approval(setting: str) -> Literal["always", "never"]:
    match setting:
        case "always" | "never":
            return setting
    raise SettingsError(f"MCP_REQUIRE_APPROVAL must be always or never, got {setting!r}")


def reduced(url: str) -> str:
    """A server's address as OpenAI shows it: its path and its query may be secret."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return REDACTED
    rest = f"/{REDACTED}" if parts.path not in ("", "/") or parts.query else parts.path
    return f"{parts.scheme}://{host}{rest}"


def _check_headers(headers: dict[str, str], authorization: str | None, where: str) -> None:
    """Raises ApiError; the message shows names of headers, never values."""
    if len(headers) > MAX_HEADERS:
        message = f"{where}.headers has {len(headers)} headers, {MAX_HEADERS} are allowed."
        raise ApiError(400, message, param=f"{where}.headers", code="invalid_value")
    if authorization is not None and any(name.lower() == "authorization" for name in headers):
        message = f"{where}: `authorization` and a header of that name are both given."
        raise ApiError(400, message, param=f"{where}.authorization", code="invalid_value")
    try:
        request_headers(authorization, headers)
    except HeaderRefused as error:
        raise ApiError(400, f"{where}.{error}.", param=where, code="invalid_value") from None
