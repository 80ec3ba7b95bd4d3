"""The events of a response's stream. `type` comes first in the JSON, so that a relay can frame without decoding.

Order and fields: OpenAI's streaming reference; see `workers.emitter`, the only place where they are born.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

from shared.schema.content import Logprob, OutputText, ReasoningText, Refusal, SummaryText
from shared.schema.error import ErrorDetail
from shared.schema.items import OutputItem
from shared.schema.response import Response

TERMINAL_EVENTS: frozenset[str] = frozenset({"response.completed", "response.incomplete", "response.failed"})
DELTA_PART = OutputText | ReasoningText | Refusal


class Event(Struct, tag_field="type", kw_only=True):
    sequence_number: int


class ResponseEvent(Event, kw_only=True):
    response: Response


class Created(ResponseEvent, tag="response.created"):
    pass


class Queued(ResponseEvent, tag="response.queued"):
    pass


class InProgress(ResponseEvent, tag="response.in_progress"):
    pass


class Completed(ResponseEvent, tag="response.completed"):
    pass


class Incomplete(ResponseEvent, tag="response.incomplete"):
    pass


class Failed(ResponseEvent, tag="response.failed"):
    pass


class OutputItemAdded(Event, tag="response.output_item.added", kw_only=True):
    output_index: int
    item: OutputItem


class OutputItemDone(Event, tag="response.output_item.done", kw_only=True):
    output_index: int
    item: OutputItem


class PartEvent(Event, kw_only=True):
    item_id: str
    output_index: int
    content_index: int


class ContentPartAdded(PartEvent, tag="response.content_part.added", kw_only=True):
    part: DELTA_PART


class ContentPartDone(PartEvent, tag="response.content_part.done", kw_only=True):
    part: DELTA_PART


class TextDelta(PartEvent, tag="response.output_text.delta", kw_only=True):
    delta: str
    logprobs: list[Logprob] = field(default_factory=list)
    obfuscation: str | UnsetType = UNSET


class TextDone(PartEvent, tag="response.output_text.done", kw_only=True):
    text: str
    logprobs: list[Logprob] = field(default_factory=list)


class ReasoningTextDelta(PartEvent, tag="response.reasoning_text.delta", kw_only=True):
    delta: str
    obfuscation: str | UnsetType = UNSET


class ReasoningTextDone(PartEvent, tag="response.reasoning_text.done", kw_only=True):
    text: str


class SummaryEvent(Event, kw_only=True):
    item_id: str
    output_index: int
    summary_index: int


class SummaryPartAdded(SummaryEvent, tag="response.reasoning_summary_part.added", kw_only=True):
    part: SummaryText


class SummaryPartDone(SummaryEvent, tag="response.reasoning_summary_part.done", kw_only=True):
    part: SummaryText


class SummaryTextDelta(SummaryEvent, tag="response.reasoning_summary_text.delta", kw_only=True):
    delta: str
    obfuscation: str | UnsetType = UNSET


class SummaryTextDone(SummaryEvent, tag="response.reasoning_summary_text.done", kw_only=True):
    text: str


class CallEvent(Event, kw_only=True):
    item_id: str
    output_index: int


class ArgumentsDelta(CallEvent, tag="response.function_call_arguments.delta", kw_only=True):
    delta: str
    obfuscation: str | UnsetType = UNSET


class ArgumentsDone(CallEvent, tag="response.function_call_arguments.done", kw_only=True):
    name: str
    arguments: str


class CustomInputDelta(CallEvent, tag="response.custom_tool_call_input.delta", kw_only=True):
    delta: str
    obfuscation: str | UnsetType = UNSET


class CustomInputDone(CallEvent, tag="response.custom_tool_call_input.done", kw_only=True):
    input: str


class Compacting(CallEvent, tag="response.compaction.compacting", kw_only=True):
    pass


class StreamError(Event, tag="error", kw_only=True):
    """Made by a front end alone, as the last event, when it has no response to end the stream with."""

    code: str
    message: str
    param: str | None = None


class NestedStreamError(Event, tag="error", kw_only=True):
    """The same as Open Responses has it."""

    error: ErrorDetail


class McpListInProgress(CallEvent, tag="response.mcp_list_tools.in_progress", kw_only=True):
    pass


class McpListCompleted(CallEvent, tag="response.mcp_list_tools.completed", kw_only=True):
    pass


class McpListFailed(CallEvent, tag="response.mcp_list_tools.failed", kw_only=True):
    pass


class McpCallInProgress(CallEvent, tag="response.mcp_call.in_progress", kw_only=True):
    pass


class McpArgumentsDelta(CallEvent, tag="response.mcp_call_arguments.delta", kw_only=True):
    delta: str
    obfuscation: str | UnsetType = UNSET


class McpArgumentsDone(CallEvent, tag="response.mcp_call_arguments.done", kw_only=True):
    arguments: str


class McpCallCompleted(CallEvent, tag="response.mcp_call.completed", kw_only=True):
    pass


class McpCallFailed(CallEvent, tag="response.mcp_call.failed", kw_only=True):
    pass


AnyEvent = (
    Created
    | Queued
    | InProgress
    | Completed
    | Incomplete
    | Failed
    | OutputItemAdded
    | OutputItemDone
    | ContentPartAdded
    | ContentPartDone
    | TextDelta
    | TextDone
    | ReasoningTextDelta
    | ReasoningTextDone
    | SummaryPartAdded
    | SummaryPartDone
    | SummaryTextDelta
    | SummaryTextDone
    | ArgumentsDelta
    | ArgumentsDone
    | CustomInputDelta
    | CustomInputDone
    | Compacting
    | McpListInProgress
    | McpListCompleted
    | McpListFailed
    | McpCallInProgress
    | McpArgumentsDelta
    | McpArgumentsDone
    | McpCallCompleted
    | McpCallFailed
)


_TERMINAL_TYPES = frozenset(name.encode() for name in TERMINAL_EVENTS)


def event_type(encoded: bytes) -> bytes:
    """The `type` of an encoded event, read from its first bytes: `{"type":"..."`."""
    return encoded[9 : encoded.index(b'"', 9)]


def is_terminal(encoded: bytes) -> bool:
    """Whether an encoded event ends its stream."""
    return event_type(encoded) in _TERMINAL_TYPES
