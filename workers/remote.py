"""The remote MCP servers of one response: their tools are listed, their calls made, what comes back is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog

from shared.emitter import Emitter
from shared.mcp_hosts import McpHosts
from shared.mcp_server import unseal
from shared.redis.records import Context
from shared.schema.items import McpApprovalRequest, McpApprovalResponse, McpCall, McpListTools
from shared.schema.mcp import McpCallError, McpListToolsTool, McpProtocolError
from shared.schema.response import Response
from shared.schema.tools import McpChoice, McpTool
from shared.sealing import SealBroken, Sealer
from shared.settings import Settings
from workers.conversation import AnyItem, listed_tools
from workers.dialects.toolbox import Toolbox
from workers.generate import Connect
from workers.grammar.grammars import demands_call, eligible
from workers.mcp import Room, ServerFailed, Servers
from workers.tools_unavailable import ToolsUnavailable

log = structlog.get_logger()

INVALID_ARGUMENTS = -32602  # JSON-RPC
INTERNAL_ERROR = -32603


class RemoteTools:
    """What the servers of one response offer, and the calls that the model makes.

    `tell` is called whenever the emitter has something to tell.
    """

    def __init__(
        self,
        response: Response,
        items: Sequence[AnyItem],
        emitter: Emitter,
        servers: Servers,
        tell: Callable[[], None],
    ) -> None:
        """`items`: the conversation that the response continues, its own input included."""
        self._response = response
        self._items = items
        self._emitter = emitter
        self._servers = servers
        self._tell = tell
        self._counting = asyncio.Lock()
        self._tools = {tool.server_label: tool for tool in response.tools if isinstance(tool, McpTool)}

    @property
    def listed(self) -> dict[str, list[McpListToolsTool]]:
        """The tools of each server whose list is known, by its label."""
        return listed_tools((*self._items, *self._response.output))

    @property
    def waiting(self) -> list[McpCall]:
        """The calls that are to be made."""
        return [item for item in self._emitter.waiting if isinstance(item, McpCall)]

    async def list_tools(self, too_many: Callable[[Toolbox], Awaitable[str | None]]) -> None:
        """Asks every server for its tools whose list is not known; a list that makes the tools `too_many` has failed
        for the reason that it gives. Raises ToolsUnavailable."""
        begun = {item.server_label: item.id for item in self._emitter.waiting if isinstance(item, McpListTools)}
        tried = {item.server_label for item in self._response.output if isinstance(item, McpListTools)}
        for label, tool in self._tools.items():
            if label not in tried and not self._knows(tool):
                begun[label] = self._emitter.open_mcp_list(label)
        self._tell()
        await _all(self._list(label, item_id, too_many) for label, item_id in begun.items())
        self._check_choice()

    def open_approved(self) -> None:
        """Begins the calls that were approved and have not been made."""
        seen = (*self._items, *self._response.output)
        made = {item.approval_request_id for item in seen if isinstance(item, McpCall)}
        requests = {item.id: item for item in seen if isinstance(item, McpApprovalRequest)}
        for answer in self._items:
            if not isinstance(answer, McpApprovalResponse) or not answer.approve or answer.approval_request_id in made:
                continue
            if (request := requests.get(answer.approval_request_id)) is None or request.server_label not in self._tools:
                continue
            self._emitter.open_mcp_call(request.name, request.server_label, request.id)
            self._emitter.mcp_arguments(request.arguments)
            self._emitter.close()

    async def call(self, calls: Sequence[McpCall], lost: Collection[str] = ()) -> None:
        """Makes calls, all at once. Of those in `lost`, which a lost worker may have made, only the repeatable ones."""
        await _all(self._call(item, again=item.id in lost) for item in calls)

    def _knows(self, tool: McpTool) -> bool:
        known = self.listed.get(tool.server_label)
        if known is None:
            return False
        return set(tool.names) <= {one.name for one in known}

    async def _list(self, label: str, item_id: str, too_many: Callable[[Toolbox], Awaitable[str | None]]) -> None:
        try:
            tools = await self._servers.list_tools(label)
        except ServerFailed as failure:
            log.warning(
                "mcp_list_failed", response_id=self._response.id, server=label, error=type(failure.error).__name__
            )
            self._emitter.mcp_listed(item_id, [], str(failure))
        else:
            allowed = [tool for tool in tools if self._tools[label].allows(tool)]
            async with self._counting:  # one list after the other, each beside those before it
                offered = Toolbox(self._response.tools, {**self.listed, label: allowed})
                if problem := await too_many(offered):
                    log.warning("mcp_list_too_long", response_id=self._response.id, server=label, tools=len(allowed))
                self._emitter.mcp_listed(item_id, [] if problem else allowed, problem)
        self._tell()

    async def _call(self, item: McpCall, *, again: bool) -> None:
        try:
            if not self._tools[item.server_label].allows(self._listed_tool(item)):
                raise ServerFailed(_NOT_ALLOWED)
            if again and not self._repeatable(item):
                raise ServerFailed(_LOST)
            output = await self._servers.call(item.server_label, item.name, _arguments(item))
        except ServerFailed as failure:
            self._emitter.mcp_called(item.id, error=failure.error)
        else:
            self._emitter.mcp_called(item.id, output)
        self._tell()

    def _repeatable(self, call: McpCall) -> bool:
        """Whether the server says that calling the tool twice does no harm."""
        tool = self._listed_tool(call)
        return tool.hints("readOnlyHint") or tool.hints("idempotentHint")

    def _listed_tool(self, call: McpCall) -> McpListToolsTool:
        """The tool that a call means; one of no promises where the server's list is not known or lacks it."""
        tools = self.listed.get(call.server_label, ())
        unknown = McpListToolsTool(name=call.name, input_schema={})
        return next((tool for tool in tools if tool.name == call.name), unknown)

    def _check_choice(self) -> None:
        """Raises ToolsUnavailable where `tool_choice` demands a call of tools that are not there."""
        choice = self._response.tool_choice
        if not demands_call(choice) or eligible(Toolbox(self._response.tools, self.listed), choice):
            return
        lists = [item for item in self._response.output if isinstance(item, McpListTools) and item.error]
        reasons = "; ".join(
            f"the tools of the MCP server '{item.server_label}' could not be listed: {item.error}" for item in lists
        )
        wanted = f" '{choice.name}'" if isinstance(choice, McpChoice) and choice.name else ""
        raise ToolsUnavailable(
            f"`tool_choice` demands a call, but there is no tool{wanted} to call: "
            + (reasons or "the MCP servers offer none.")
        )


def connector(settings: Settings, sealer: Sealer | None) -> Connect:
    """What opens the servers of a response, for all jobs of a process. Raises SettingsError."""
    hosts = McpHosts(settings.mcp_allowed_hosts)
    room = Room(settings.mcp_max_connections)

    @asynccontextmanager
    async def connect(
        context: Context, items: Sequence[AnyItem], emitter: Emitter, tell: Callable[[], None]
    ) -> AsyncIterator[RemoteTools]:
        if sealer is None:
            raise ToolsUnavailable(
                "This worker lacks the setting ENCRYPTION_KEY, without which it can use no MCP server."
            )
        try:
            servers = unseal(context.generation.mcp_servers or "", sealer, context.owner)
        except SealBroken:
            raise ToolsUnavailable("This worker's ENCRYPTION_KEY is not that of the front end.") from None
        async with Servers(servers, settings, hosts, room=room, owner=context.owner) as opened:
            yield RemoteTools(context.response, items, emitter, opened, tell)

    return connect


_NOT_ALLOWED: McpCallError = McpProtocolError(
    code=INVALID_ARGUMENTS, message="The tool is not among those that `allowed_tools` allows."
)
_LOST: McpCallError = McpProtocolError(
    code=INTERNAL_ERROR,
    message="The worker was lost while the tool ran. It may have run; it was not called again, because its server does "
    "not say that this would be harmless.",
)


def _arguments(call: McpCall) -> dict[str, Any]:
    """Raises ServerFailed where they are no JSON object, as only an approved call of a client's own making can have."""
    try:
        value = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ServerFailed(McpProtocolError(code=INVALID_ARGUMENTS, message="The arguments are no JSON object."))
    return value


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs everything at once; if this is cancelled, so is all of it."""
    async with asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(one)
