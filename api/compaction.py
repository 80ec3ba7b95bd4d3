"""`POST /v1/responses/compact`: a summary of a conversation by the model, sealed, to be sent as input.

Source of the forms: `CompactedResponse` and `ResponseCompactionItem` of the `openai` SDK.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import Raw, Struct, structs

from shared.schema.content import as_sent, text_of
from shared.schema.ids import new_id
from shared.schema.items import Compaction, Item, McpApprovalRequest, McpApprovalResponse, McpCall, Message
from shared.schema.request import CompactRequest, CreateResponse, ReasoningOptions
from shared.schema.response import Response, Usage
from shared.sealing import COMPACTION, Sealer
from shared.summary import SUMMARY_REQUEST


class CompactedResponse(Struct, kw_only=True):
    id: str
    object: Literal["response.compaction"] = "response.compaction"
    created_at: int
    output: list[Item]  # the user's messages, approvals that are not settled, then the compaction
    usage: Usage


def summary_request(request: CompactRequest) -> CreateResponse:
    """The generation that makes the summary: the conversation, and then the request for it; nothing is stored."""
    if isinstance(request.input, str):
        written = [Raw(msgspec.json.encode({"role": "user", "content": request.input}))]
    else:
        written = list(request.input or ())
    question = Raw(msgspec.json.encode({"role": "user", "content": SUMMARY_REQUEST}))
    return CreateResponse(
        model=request.model,
        input=[*written, question],
        instructions=request.instructions,
        previous_response_id=request.previous_response_id,
        prompt_cache_key=request.prompt_cache_key,
        store=False,
        truncation="auto",
        reasoning=ReasoningOptions(effort="none"),
    )


def compacted(response: Response, conversation: list[Item], sealer: Sealer, owner: str) -> CompactedResponse:
    """The answer, from the response that summarised all items of a conversation."""
    messages = [item for item in response.output if isinstance(item, Message)]
    summary = "\n".join(text_of(part) for message in messages for part in message.content)
    sealed = sealer.seal(summary, owner=owner, purpose=COMPACTION)
    assert response.usage is not None
    return CompactedResponse(
        id=new_id("resp"),
        created_at=int(time.time()),
        output=[*_kept(conversation), Compaction(id=new_id("cmp"), encrypted_content=sealed)],
        usage=response.usage,
    )


def _kept(conversation: list[Item]) -> Iterator[Item]:
    """What stays beside the summary: what the user said, requests for approval that can still be answered, and answers
    whose calls are still to be made."""
    made = {item.approval_request_id for item in conversation if isinstance(item, McpCall)}
    answers = {
        item.approval_request_id: item for item in reversed(conversation) if isinstance(item, McpApprovalResponse)
    }
    refused = {name for name, answer in answers.items() if not answer.approve}  # by the first answer, which counts
    for item in conversation:
        match item:
            case Message(role="user"):
                yield structs.replace(item, content=as_sent(item.content))
            case McpApprovalRequest(id=asked) if asked not in made | refused:
                yield item
            case McpApprovalResponse(approval_request_id=asked) if (
                asked not in made and item is answers[asked] and item.approve
            ):
                yield item
