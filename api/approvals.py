"""Answers to requests for approval: each answers one that was asked in the same conversation, once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from redis.asyncio import Redis

from api.errors import ApiError, shown
from shared.redis import conversations, records
from shared.redis.conversations import Opening
from shared.schema.items import Item, McpApprovalRequest, McpApprovalResponse, McpCall
from shared.schema.tools import McpTool, Tool


async def check_approvals(
    redis: Redis,
    items: Sequence[Item],
    ancestors: Sequence[str],
    inherited: Sequence[Item],
    opening: Opening | None,
    tools: Iterable[Tool],
) -> None:
    """`items` is the new input, the rest what it continues. Raises ApiError for an answer to nothing, a second one, and
    one to a call of a server that is not among the tools: its secrets are not kept, so they have to be sent again."""
    if not any(isinstance(item, McpApprovalResponse) for item in items):
        return
    earlier: list[Item] = list(await conversations.read_items(redis, opening)) if opening else []
    for turn in await records.read_turns(redis, ancestors):
        earlier += [*turn.input, *turn.output]
    seen = [*earlier, *inherited]
    asked = {item.id: item for item in seen if isinstance(item, McpApprovalRequest)}
    answered = {item.approval_request_id for item in seen if isinstance(item, McpApprovalResponse)}
    labels = {tool.server_label for tool in tools if isinstance(tool, McpTool)}
    made = {item.approval_request_id for item in items if isinstance(item, McpCall)}
    for position, item in enumerate(items):
        if isinstance(item, McpApprovalRequest):
            asked[item.id] = item
        if not isinstance(item, McpApprovalResponse):
            continue
        where, name = f"input[{position}].approval_request_id", item.approval_request_id
        if (request := asked.get(name)) is None:
            raise _wrong(where, f"No approval request '{shown(name)}' is found before this answer to it.")
        if name in answered:
            raise _wrong(where, f"The approval request '{shown(name)}' is answered already.")
        answered.add(name)
        if item.approve and name not in made and request.server_label not in labels:
            message = (
                f"The approved call is one of the MCP server '{request.server_label}', which is not among `tools`. "
                "Send the tool again: nothing that gives access to it is kept."
            )
            raise _wrong("tools", message)


def _wrong(where: str, message: str) -> ApiError:
    return ApiError(400, message, param=where, code="invalid_value")
