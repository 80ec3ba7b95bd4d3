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
    most: int,
) -> None:
    """`items` is the new input, the rest what it continues; `most` calls may be made.

    Raises ApiError for what `check_answers` refuses, for more calls than may be made, and for one of a server that is
    not among the tools: its secrets are not kept, so they have to be sent again.
    """
    if not _has_answers(items):
        return
    earlier = await records.read_earlier(redis, ancestors, opening)
    asked = check_answers(items, [*earlier, *inherited])
    labels = {tool.server_label for tool in tools if isinstance(tool, McpTool)}
    made = {item.approval_request_id for item in items if isinstance(item, McpCall)}
    calls = 0
    for position, item in enumerate(items):
        if not isinstance(item, McpApprovalResponse) or not item.approve or item.approval_request_id in made:
            continue
        label = asked[item.approval_request_id].server_label
        if label not in labels:
            message = (
                f"The approved call is one of the MCP server '{label}', which is not among `tools`. "
                "Send the tool again: nothing that gives access to it is kept."
            )
            raise _wrong("tools", message)
        calls += 1
        if calls > most:
            message = (
                f"The input approves more calls than the {most} that this response may make (the less of "
                "`max_tool_calls` and the operator's MCP_MAX_CALLS). Approve the others in a later response."
            )
            raise _wrong(f"input[{position}].approval_request_id", message)


async def check_added_answers(redis: Redis, items: Sequence[Item], conversation_id: str, owner: str) -> None:
    """The same for items that are added to a conversation. Raises ApiError, ConversationGone."""
    if _has_answers(items):
        opening = await conversations.read_opening(redis, conversation_id, owner)
        check_answers(items, await conversations.read_items(redis, opening), "items")


def check_answers(
    items: Sequence[Item], earlier: Sequence[Item], where: str = "input"
) -> dict[str, McpApprovalRequest]:
    """The requests for approval among all of these, by id. `items` stand at `where` of the body.

    Raises ApiError for an answer to nothing, and for a second one.
    """
    asked = {item.id: item for item in earlier if isinstance(item, McpApprovalRequest)}
    answered = {item.approval_request_id for item in earlier if isinstance(item, McpApprovalResponse | McpCall)}
    for position, item in enumerate(items):
        if isinstance(item, McpApprovalRequest):
            asked[item.id] = item
        if not isinstance(item, McpApprovalResponse):
            continue
        place, name = f"{where}[{position}].approval_request_id", item.approval_request_id
        if name not in asked:
            raise _wrong(place, f"No approval request '{shown(name)}' is found before this answer to it.")
        if name in answered:
            raise _wrong(place, f"The approval request '{shown(name)}' is answered already.")
        answered.add(name)
    return asked


def _has_answers(items: Sequence[Item]) -> bool:
    return any(isinstance(item, McpApprovalResponse) for item in items)


def _wrong(where: str, message: str) -> ApiError:
    return ApiError(400, message, param=where, code="invalid_value")
