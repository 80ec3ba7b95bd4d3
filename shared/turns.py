"""The items of one turn in the order a model reads them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import structs

from shared.schema.items import (
    Compaction,
    Item,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    Message,
    OutputItem,
)
from shared.schema.mcp import McpProtocolError

INTERNAL_ERROR = -32603  # JSON-RPC


def split_before_last_question(
    items: Sequence[Item | OutputItem],
) -> tuple[Sequence[Item | OutputItem], Sequence[Item | OutputItem]]:
    """What may be summarised, and what has to stay: the last user message and all that follows it."""
    questions = [n for n, item in enumerate(items) if isinstance(item, Message) and item.role == "user"]
    cut = questions[-1] if questions else 0
    return items[:cut], items[cut:]


def in_order(taken: Sequence[Item], given: Sequence[OutputItem]) -> list[Item]:
    """What a response took in, then what it put out; a compaction stands before the question that it does not cover.
    It is left out where that question is not among `taken`: it has no place here."""
    compactions = [item for item in given if isinstance(item, Compaction)]
    if not compactions:
        return [*taken, *given]
    earlier, question = split_before_last_question(taken)
    if not any(isinstance(item, Message) and item.role == "user" for item in question):
        compactions = []
    rest = [item for item in given if not isinstance(item, Compaction)]
    return [*earlier, *compactions, *question, *rest]


def approved_calls(turn: Sequence[Item], begun: Collection[str]) -> list[Item]:
    """What has to be remembered of a turn that is forgotten: its calls that were approved and made, with the answers
    that approved them. Else the same answer could be given again, and bring about a second call.

    `begun`: ids of calls that may have been made; what came of one that has not ended is not known, and it says so.
    """
    calls: dict[str, McpCall] = {}
    for item in turn:
        if isinstance(item, McpCall) and (asked := item.approval_request_id):
            if item.status in ("completed", "failed"):
                calls[asked] = item
            elif item.id in begun:
                calls[asked] = structs.replace(item, status="failed", error=_UNKNOWN)
    kept: list[Item] = []
    for item in turn:
        match item:
            case McpApprovalRequest(id=asked) | McpApprovalResponse(approval_request_id=asked) if asked in calls:
                kept.append(item)
            case McpCall(approval_request_id=str(asked)) if asked in calls:
                kept.append(calls[asked])
    return kept


_UNKNOWN = McpProtocolError(
    code=INTERNAL_ERROR,
    message="The response ended while the tool ran. It may have run; what it answered is not known.",
)
