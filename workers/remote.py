"""The remote MCP servers of one response: their tools are listed, their calls made, what comes back is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog

from shared.emitter import Emitter
from shared.mcp_hosts import McpHosts
from shared.mcp_lists import holds, made_for
from shared.mcp_server import unseal
from shared.redis.records import Context
from shared.schema.items import McpApprovalRequest, McpApprovalResponse, McpCall, McpListTools
from shared.schema.mcp import McpCallError, McpListToolsTool, McpProtocolError
from shared.schema.response import Response
from shared.schema.tools import AllowedTools, McpChoice, McpTool, ToolChoice
from shared.sealing import SealBroken, Sealer
from shared.settings import Settings
from workers.arguments import read_arguments
from workers.conversation import AnyItem, everything, listed_tools
from workers.dialects.toolbox import Toolbox
from workers.generate import Connect
from workers.grammar.grammars import demands_call, eligible
from workers.mcp import Closings, Room, ServerFailed, Servers
from workers.tools_unavailable import NoSuchTool, ToolsUnavailable

log = structlog.get_logger()

INVALID_REQUEST = -32600  # JSON-RPC
INVALID_ARGUMENTS = -32602
INTERNAL_ERROR = -32603
_SHOWN = 20  # names of tools in an error


class RemoteTools:
    """What the servers of one response offer, and the calls that the model makes.

    `tell` is called whenever the emitter has something to tell.
    """

    def __init__(
        self,
        context: Context,
        items: Sequence[AnyItem],
        emitter: Emitter,
        servers: Servers,
        tell: Callable[[], None],
        settings: Settings,
    ) -> None:
        """`items`: the conversation as the model reads it, the response's own input included."""
        self._context = context
        self._response: Response = context.response
        self._items = items
        self._emitter = emitter
        self._servers = servers
        self._tell = tell
        self._counting = asyncio.Lock()
        self._most_calls = settings.most_calls(context.response.max_tool_calls)
        self._tools = {tool.server_label: tool for tool in self._response.tools if isinstance(tool, McpTool)}

    @property
    def listed(self) -> dict[str, list[McpListToolsTool]]:
        """The tools of each server whose list is known, by its label."""
        return listed_tools((*self._items, *self._response.output))

    @property
    def waiting(self) -> list[McpCall]:
        """The calls that are to be made."""
        return [item for item in self._emitter.waiting if isinstance(item, McpCall)]

    async def list_tools(self, too_many: Callable[[Toolbox], Awaitable[str | None]]) -> None:
        """Asks every server for its tools of which no list is known that holds all that is allowed; a list that makes
        the tools `too_many` has failed for the reason that it gives. Raises ToolsUnavailable, NoSuchTool."""
        begun = {item.server_label: item.id for item in self._emitter.waiting if isinstance(item, McpListTools)}
        tried = {item.server_label for item in self._response.output if isinstance(item, McpListTools)}
        for label, tool in self._tools.items():
            if label not in tried and not self._knows(tool):
                begun[label] = self._emitter.open_mcp_list(label, made_for(tool))
        self._tell()
        await _all(self._list(label, item_id, too_many) for label, item_id in begun.items())
        self._check_choice()

    def open_approved(self) -> None:
        """Begins the calls that were approved and have not been made, whatever a compaction has covered of them. While
        only the prompt is computed none is: the response that goes on from there makes them."""
        if self._context.generation.prewarm:
            return
        given = everything(self._context.ancestors, self._context.input)
        seen = (*given, *self._response.output)
        settled = {item.approval_request_id for item in seen if isinstance(item, McpCall)}
        requests = {item.id: item for item in seen if isinstance(item, McpApprovalRequest)}
        for answer in given:
            if not isinstance(answer, McpApprovalResponse) or answer.approval_request_id in settled:
                continue
            settled.add(answer.approval_request_id)  # the first answer counts
            request = requests.get(answer.approval_request_id)
            if request is None or not answer.approve or request.server_label not in self._tools:
                continue
            self._emitter.open_mcp_call(request.name, request.server_label, request.id)
            self._emitter.mcp_arguments(request.arguments)
            self._emitter.close()

    async def call(
        self, calls: Sequence[McpCall], begin: Callable[[str], Awaitable[None]], lost: Collection[str] = ()
    ) -> None:
        """Makes calls, all at once. Of those in `lost`, which a lost worker may have made, only the repeatable ones.
        `begin` is awaited with a call's id right before it is sent."""
        await _all(self._call(item, partial(begin, item.id), again=item.id in lost) for item in calls)

    def _knows(self, tool: McpTool) -> bool:
        seen = (*self._items, *self._response.output)
        lists = [item for item in seen if isinstance(item, McpListTools) and item.server_label == tool.server_label]
        known = [item for item in lists if item.error is None]
        return bool(known) and holds(known[-1], tool)

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

    async def _call(self, item: McpCall, begin: Callable[[], Awaitable[None]], *, again: bool) -> None:
        try:
            if self._beyond_limit(item):
                raise ServerFailed(_TOO_MANY)
            if not self._tools[item.server_label].allows(self._listed_tool(item)):
                raise ServerFailed(_NOT_ALLOWED)
            if again and not self._repeatable(item):
                raise ServerFailed(_LOST)
            output = await self._servers.call(item.server_label, item.name, _arguments(item), begin)
        except ServerFailed as failure:
            self._emitter.mcp_called(item.id, error=failure.error)
        else:
            self._emitter.mcp_called(item.id, output)
        self._tell()

    def _beyond_limit(self, call: McpCall) -> bool:
        """Whether the response has enough calls before this one. Those of the model's own are not offered to it then;
        approved ones are not always counted before."""
        calls = [item.id for item in self._response.output if isinstance(item, McpCall)]
        return calls.index(call.id) >= self._most_calls

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
        """Where `tool_choice` demands a call of tools that are not there, raises ToolsUnavailable if that is due to
        a list that has failed, and NoSuchTool if not: to try again would not help."""
        choice = self._response.tool_choice
        if not demands_call(choice) or eligible(Toolbox(self._response.tools, self.listed), choice):
            return
        labels = set(self._tools) if isinstance(choice, str) else _labels(choice)
        lists = [item for item in self._response.output if isinstance(item, McpListTools) and item.error]
        reasons = "; ".join(
            f"the tools of the MCP server '{item.server_label}' could not be listed: {item.error}"
            for item in lists
            if item.server_label in labels
        )
        wanted = f" '{choice.name}'" if isinstance(choice, McpChoice) and choice.name else ""
        refusal = f"`tool_choice` demands a call, but there is no tool{wanted} to call: "
        if reasons:
            raise ToolsUnavailable(refusal + reasons)
        raise NoSuchTool(refusal + "; ".join(self._offer(label) for label in sorted(labels)) + ".")

    def _offer(self, label: str) -> str:
        """What a server has, in words."""
        names = [f"'{tool.name}'" for tool in self.listed.get(label, ()) if self._tools[label].allows(tool)]
        more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
        return f"the MCP server '{label}' offers {', '.join([*names[:_SHOWN], *more]) or 'none'}"


def connector(settings: Settings, sealer: Sealer | None, closings: Closings) -> Connect:
    """What opens the servers of a response, for all jobs of a process; they are closed behind it. Raises
    SettingsError."""
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
        opened = Servers(servers, settings, hosts, room=room, owner=context.owner)
        try:
            yield RemoteTools(context, items, emitter, opened, tell, settings)
        finally:
            closings.begin(opened)

    return connect


_NOT_ALLOWED: McpCallError = McpProtocolError(
    code=INVALID_ARGUMENTS, message="The tool is not among those that `allowed_tools` allows."
)
_TOO_MANY: McpCallError = McpProtocolError(
    code=INVALID_REQUEST, message="The tool was not called: the response has reached its limit of calls."
)
_LOST: McpCallError = McpProtocolError(
    code=INTERNAL_ERROR,
    message="The worker was lost while the tool ran. It may have run; it was not called again, because its server does "
    "not say that this would be harmless.",
)


def _labels(choice: ToolChoice) -> set[str]:
    """The servers that a choice names."""
    match choice:
        case McpChoice(server_label=label):
            return {label}
        case AllowedTools(tools=tools):
            return {str(tool["server_label"]) for tool in tools if tool.get("type") == "mcp"}
    return set()


def _arguments(call: McpCall) -> dict[str, Any]:
    """Raises ServerFailed where they are no JSON object, as only an approved call of a client's own making can have."""
    try:
        return read_arguments(call.arguments)
    except ValueError:
        raise ServerFailed(
            McpProtocolError(code=INVALID_ARGUMENTS, message="The arguments are no JSON object.")
        ) from None


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs everything at once; if this is cancelled, so is all of it."""
    async with asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(one)
