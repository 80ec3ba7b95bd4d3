"""The events of a response that has ended, made again from the final object: all where its log has expired, the
terminal one for those whose numbers are beyond the log.

They tell the same story with one delta for each part. Their numbers are not those of the first telling, so a client
that resumes after N gets those above N, and the terminal event in any case.
"""

from __future__ import annotations

import msgspec

from shared.emitter import Emitter
from shared.schema.items import (
    Compaction,
    CustomToolCall,
    FunctionCall,
    McpApprovalRequest,
    McpCall,
    McpListTools,
    Message,
    OutputItem,
    Reasoning,
)
from shared.schema.response import Response

_decoder = msgspec.json.Decoder(Response)


def rebuild(final: bytes, after: int) -> list[bytes]:
    """Encoded events with sequence numbers above `after`; `final` is the Response object as it is stored."""
    response = _decoder.decode(final)
    emitter = Emitter(_beginning(final), 0)
    emitter.created()
    emitter.in_progress()
    for item in response.output:
        _tell(emitter, item)
    told = emitter.take()
    return [*told[after + 1 :], _conclusion(response, max(len(told), after + 1))]


def conclusion(final: bytes, number: int) -> bytes:
    """The encoded terminal event with this number; `final` is the Response object as it is stored."""
    return _conclusion(_decoder.decode(final), number)


def _conclusion(response: Response, number: int) -> bytes:
    ending = Emitter(response, number)
    ending.conclude()
    return ending.take()[0]


def _beginning(final: bytes) -> Response:
    response = _decoder.decode(final)
    response.status = "in_progress"
    response.output = []
    response.usage = response.error = response.incomplete_details = response.completed_at = None
    return response


def _tell(emitter: Emitter, item: OutputItem) -> None:
    match item:
        case Message():
            emitter.open_message(item.id, item.phase)
            for part in item.content:
                emitter.text(getattr(part, "text", ""), getattr(part, "logprobs", None))
            emitter.close(item.status)
        case Reasoning():
            emitter.open_reasoning(item.id)
            for thought in item.content or ():
                emitter.reasoning(thought.text)
            for summary in item.summary:
                emitter.summary(summary.text)
            emitter.close(encrypted_content=item.encrypted_content)
        case FunctionCall():
            emitter.open_call(item.name, item.call_id, item.id, item.namespace)
            emitter.arguments(item.arguments)
            emitter.close(item.status)
        case Compaction():
            emitter.compaction(item.encrypted_content, item.id)
        case CustomToolCall():
            emitter.open_custom_call(item.name, item.call_id, item.id, item.namespace)
            emitter.custom_input(item.input)
            emitter.close(item.status or "completed")
        case McpListTools():
            emitter.open_mcp_list(item.server_label, given_id=item.id)
            emitter.mcp_listed(item.id, item.tools, item.error)
        case McpCall():
            emitter.open_mcp_call(item.name, item.server_label, item.approval_request_id, item.id)
            emitter.mcp_arguments(item.arguments)
            emitter.close("incomplete" if item.status == "incomplete" else "completed")
            if item.status != "incomplete":
                emitter.mcp_called(item.id, item.output, item.error)
        case McpApprovalRequest():
            emitter.mcp_approval_request(item.name, item.server_label, item.arguments, item.id)
