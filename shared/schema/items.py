"""Items: what a response takes in and puts out. An item is stored and echoed in the form it has here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field, json, structs

from shared.schema.content import (
    InputImage,
    InputPart,
    MessagePart,
    ReasoningText,
    SummaryText,
    as_sent,
    text_of,
)
from shared.schema.mcp import McpCallError, McpListToolsTool

Role = Literal["user", "assistant", "system", "developer"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]
Phase = Literal["commentary", "final_answer"]


class Message(Struct, tag_field="type", tag="message", kw_only=True):
    """A message, input or output. An output message has the role `assistant` and parts `output_text` or `refusal`."""

    id: str
    status: ItemStatus = "completed"
    role: Role
    content: list[MessagePart]
    phase: Phase | UnsetType | None = UNSET


class Reasoning(Struct, tag_field="type", tag="reasoning", kw_only=True):
    """The model's raw reasoning. Open Responses knows no status here, so none is sent."""

    id: str
    summary: list[SummaryText] = field(default_factory=list)
    content: list[ReasoningText] | None = None
    encrypted_content: str | UnsetType | None = UNSET


class FunctionCall(Struct, tag_field="type", tag="function_call", kw_only=True):
    """A call of a `function` tool. `arguments` is JSON as text; `id` (fc_...) and `call_id` (call_...) differ."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus = "completed"
    namespace: str | UnsetType | None = UNSET


class FunctionCallOutput(Struct, tag_field="type", tag="function_call_output", kw_only=True):
    """What the client's function returned."""

    id: str
    call_id: str
    output: str | list[InputPart]
    status: ItemStatus = "completed"


class CustomToolCall(Struct, tag_field="type", tag="custom_tool_call", kw_only=True):
    """A call of a `custom` tool; `input` is free text, or text by the tool's grammar. One that was cut says so."""

    id: str
    call_id: str
    name: str
    input: str
    status: ItemStatus | UnsetType = UNSET
    namespace: str | UnsetType | None = UNSET


class CustomToolCallOutput(Struct, tag_field="type", tag="custom_tool_call_output", kw_only=True):
    id: str
    call_id: str
    output: str | list[InputPart]


class Compaction(Struct, tag_field="type", tag="compaction", kw_only=True):
    """A conversation so far, summarised by the model and sealed; what came before it is not read again."""

    id: str
    encrypted_content: str


class CompactionInput(Struct, kw_only=True):
    """A compaction item sent back by a client."""

    type: Literal["compaction"]
    encrypted_content: str
    id: str | None = None


class McpListTools(Struct, tag_field="type", tag="mcp_list_tools", kw_only=True):
    """The tools of a remote MCP server that the model is offered, or why they could not be listed."""

    id: str
    server_label: str
    tools: list[McpListToolsTool]
    error: str | None = None


class McpCall(Struct, tag_field="type", tag="mcp_call", kw_only=True):
    """A call of a remote MCP server's tool, with what came of it."""

    id: str
    server_label: str
    name: str
    arguments: str
    approval_request_id: str | None = None
    output: str | None = None
    error: McpCallError | None = None
    status: Literal["in_progress", "calling", "completed", "incomplete", "failed"] = "completed"


class McpApprovalRequest(Struct, tag_field="type", tag="mcp_approval_request", kw_only=True):
    """A call that waits for somebody's approval."""

    id: str
    server_label: str
    name: str
    arguments: str


class McpApprovalResponse(Struct, tag_field="type", tag="mcp_approval_response", kw_only=True):
    """The answer to a request for approval."""

    id: str
    approval_request_id: str
    approve: bool
    reason: str | None = None


CallId = Annotated[str, Meta(min_length=1, max_length=256)]


class FunctionCallInput(Struct, kw_only=True):
    """A function call sent back by a stateless client."""

    type: Literal["function_call"]
    call_id: CallId
    name: str
    arguments: str
    id: str | None = None
    status: ItemStatus | None = None
    namespace: str | None = None


class CustomToolCallInput(Struct, kw_only=True):
    """A custom tool call sent back by a stateless client."""

    type: Literal["custom_tool_call"]
    call_id: CallId
    name: str
    input: str
    id: str | None = None
    namespace: str | None = None
    status: ItemStatus | None = None


class CallOutputInput(Struct, kw_only=True):
    """What the client's tool returned."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: CallId
    output: str | list[InputPart]
    id: str | None = None
    status: ItemStatus | None = None


class McpListToolsInput(Struct, kw_only=True):
    """A list of tools sent back by a stateless client."""

    type: Literal["mcp_list_tools"]
    server_label: str
    tools: list[McpListToolsTool]
    id: str | None = None
    error: str | None = None


class McpCallInput(Struct, kw_only=True):
    """A call sent back by a stateless client. Older SDKs know `error` as text."""

    type: Literal["mcp_call"]
    server_label: str
    name: str
    arguments: str
    id: str | None = None
    approval_request_id: str | None = None
    output: str | None = None
    error: McpCallError | str | None = None
    status: Literal["in_progress", "calling", "completed", "incomplete", "failed"] | None = None


class McpApprovalRequestInput(Struct, kw_only=True):
    """A request for approval sent back by a stateless client; its answer names it by `id`."""

    type: Literal["mcp_approval_request"]
    id: str
    server_label: str
    name: str
    arguments: str


class McpApprovalResponseInput(Struct, kw_only=True):
    type: Literal["mcp_approval_response"]
    approval_request_id: str
    approve: bool
    id: str | None = None
    reason: str | None = None


class ItemReference(Struct, kw_only=True):
    """Stands for an item of a stored response."""

    id: str
    type: Literal["item_reference"] = "item_reference"


Call = FunctionCall | CustomToolCall
CallOutput = FunctionCallOutput | CustomToolCallOutput
OutputItem = (
    Message | Reasoning | FunctionCall | CustomToolCall | Compaction | McpListTools | McpCall | McpApprovalRequest
)
Item = OutputItem | FunctionCallOutput | CustomToolCallOutput | McpApprovalResponse


class EasyMessage(Struct, kw_only=True):
    """A message as clients write it: `type` may be absent and `content` may be a string."""

    role: Role
    content: str | list[MessagePart]
    type: Literal["message"] = "message"
    id: str | None = None
    status: ItemStatus | None = None
    phase: Phase | None = None


class ReasoningInput(Struct, kw_only=True):
    """A reasoning item sent back by a stateless client."""

    type: Literal["reasoning"]
    summary: list[SummaryText]
    id: str | None = None
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    status: ItemStatus | None = None


IMAGE_BYTES = 1 << 20  # an image counts as: what it takes of a context, only a worker can tell


def text_bytes(items: Sequence[Item]) -> int:
    """Bytes of text in items: no tokenizer makes more tokens of it, so it bounds what it takes of a context."""
    return sum(len(text.encode()) for item in items for text in _texts(item)) + IMAGE_BYTES * sum(map(_images, items))


def content_parts(item: object) -> Sequence[MessagePart]:
    """The parts of a message, or of what a tool returned as parts."""
    match item:
        case Message():
            return item.content
        case FunctionCallOutput() | CustomToolCallOutput() if not isinstance(item.output, str):
            return item.output
    return ()


def shown_to_client(item: Item) -> Item:
    """An item without what is only stored with it."""
    match item:
        case Message():
            return structs.replace(item, content=as_sent(item.content))
        case FunctionCallOutput() | CustomToolCallOutput() if not isinstance(item.output, str):
            return structs.replace(item, output=as_sent(item.output))
    return item


def _images(item: Item) -> int:
    return sum(isinstance(part, InputImage) for part in content_parts(item))


def _texts(item: Item) -> Iterable[str]:
    match item:
        case Message():
            return map(text_of, item.content)
        case Reasoning():
            return (part.text for part in (*item.summary, *(item.content or ())))
        case FunctionCall():
            return (item.name, item.arguments)
        case CustomToolCall():
            return (item.name, item.input)
        case McpCall():
            return (item.name, item.arguments, item.output or "", str(item.error or ""))
        case McpListTools():
            return (json.encode(item.tools).decode(),)
        case McpApprovalRequest():
            return (item.name, item.arguments)
        case McpApprovalResponse():
            return (item.reason or "",)
        case Compaction():
            return (item.encrypted_content,)
        case FunctionCallOutput() | CustomToolCallOutput():
            return (item.output,) if isinstance(item.output, str) else map(text_of, item.output)
