"""Input items: from every form a client may write them in to the one form they are stored in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from api.errors import ApiError, shown
from api.validation import reading
from shared.schema.content import (
    InputFile,
    InputImage,
    InputPart,
    InputText,
    MessagePart,
    OutputText,
    ReasoningText,
    Refusal,
    as_sent,
)
from shared.schema.ids import item_id
from shared.schema.items import (
    CallOutputInput,
    Compaction,
    CompactionInput,
    CustomToolCall,
    CustomToolCallInput,
    CustomToolCallOutput,
    EasyMessage,
    FunctionCall,
    FunctionCallInput,
    FunctionCallOutput,
    Item,
    ItemReference,
    McpApprovalRequest,
    McpApprovalRequestInput,
    McpApprovalResponse,
    McpApprovalResponseInput,
    McpCall,
    McpCallInput,
    McpListTools,
    McpListToolsInput,
    Message,
    Reasoning,
    ReasoningInput,
)
from shared.schema.mcp import McpToolExecutionError
from shared.schema.request import CreateResponse
from shared.sealing import COMPACTION, REASONING, SealBroken, Sealer


class _Typed(msgspec.Struct):
    type: str | None = None
    role: str | None = None
    id: str | None = None

    @property
    def kind(self) -> str:
        """What an item without a type is: a message, or a reference when it has no role either."""
        return self.type or ("message" if self.role or self.id is None else "item_reference")


_typed = msgspec.json.Decoder(_Typed)
_message = msgspec.json.Decoder(EasyMessage)
_reasoning = msgspec.json.Decoder(ReasoningInput)
_compaction = msgspec.json.Decoder(CompactionInput)
_call = msgspec.json.Decoder(FunctionCallInput)
_custom_call = msgspec.json.Decoder(CustomToolCallInput)
_output = msgspec.json.Decoder(CallOutputInput)
_mcp_list = msgspec.json.Decoder(McpListToolsInput)
_mcp_call = msgspec.json.Decoder(McpCallInput)
_approval_request = msgspec.json.Decoder(McpApprovalRequestInput)
_approval_response = msgspec.json.Decoder(McpApprovalResponseInput)
_reference = msgspec.json.Decoder(ItemReference)


_PARTS: dict[str, tuple[type[MessagePart], ...]] = {
    "user": (InputText, InputImage, InputFile),
    "system": (InputText, InputFile),
    "developer": (InputText, InputFile),
    "assistant": (OutputText, Refusal),
}


class ItemReader:
    """Reads the input of one request. Items without an id get one that belongs to the response."""

    def __init__(self, response_id: str, owner: str, sealer: Sealer | None, max_items: int) -> None:
        self._response_id = response_id
        self._owner = owner
        self._sealer = sealer
        self._max_items = max_items
        self._kinds: dict[str, Callable[[msgspec.Raw, str, int], Item | ItemReference]] = {
            "message": self._read_message,
            "reasoning": self._read_reasoning,
            "compaction": self._read_compaction,
            "function_call": self._read_call,
            "function_call_output": self._read_output,
            "custom_tool_call": self._read_custom_call,
            "custom_tool_call_output": self._read_custom_output,
            "mcp_list_tools": self._read_mcp_list,
            "mcp_call": self._read_mcp_call,
            "mcp_approval_request": self._read_approval_request,
            "mcp_approval_response": self._read_approval_response,
            "item_reference": self._read_reference,
        }

    def read(self, request: CreateResponse) -> list[Item | ItemReference]:
        """The input items; references are still to be resolved. Raises ApiError with the place."""
        if request.input is None:
            return []
        if isinstance(request.input, str):
            message = EasyMessage(role="user", content=request.input)
            return [self._message(message, "input", 0)]
        return self.read_list(request.input, "input")

    def read_list(self, items: Sequence[msgspec.Raw], where: str) -> list[Item | ItemReference]:
        """Items that stand at `where`; references are still to be resolved. Raises ApiError with the place."""
        if len(items) > self._max_items:
            message = f"`{where}` has {len(items)} items, {self._max_items} are allowed."
            raise ApiError(400, message, param=where, code="array_above_max_length")
        return [self._read(raw, f"{where}[{position}]", position) for position, raw in enumerate(items)]

    def _read(self, raw: msgspec.Raw, where: str, position: int) -> Item | ItemReference:
        with reading(raw, where):
            kind = _typed.decode(raw).kind
            if read := self._kinds.get(kind):
                return read(raw, where, position)
        known = ", ".join(f"'{name}'" for name in self._kinds)
        message = f"{where}.type is '{shown(kind)}', expected one of {known}."
        raise ApiError(400, message, param=f"{where}.type", code="invalid_value")

    def _read_message(self, raw: msgspec.Raw, where: str, position: int) -> Message:
        return self._message(_message.decode(raw), where, position)

    def _message(self, easy: EasyMessage, where: str, position: int) -> Message:
        assistant = easy.role == "assistant"
        if isinstance(easy.content, str):
            text: MessagePart = OutputText(text=easy.content) if assistant else InputText(text=easy.content)
            parts = [text]
        else:
            parts = easy.content
        allowed = _PARTS[easy.role]
        for number, part in enumerate(parts):
            if not isinstance(part, allowed):
                names = " or ".join(f"'{kind.__struct_config__.tag}'" for kind in allowed)
                place = f"{where}.content[{number}].type"
                message = f"{place}: a message of the role '{easy.role}' holds parts of type {names}."
                raise ApiError(400, message, param=place, code="invalid_value")
        return Message(
            id=easy.id or item_id("msg", self._response_id, position),
            status=easy.status or "completed",
            role=easy.role,
            content=as_sent(parts),
            phase=easy.phase if easy.phase else msgspec.UNSET,
        )

    def _read_reasoning(self, raw: msgspec.Raw, where: str, position: int) -> Reasoning:
        item = _reasoning.decode(raw)
        content = item.content
        if item.encrypted_content:
            text = self._open(item.encrypted_content, REASONING, f"{where}.encrypted_content")
            content = [ReasoningText(text=text)]
        identifier = item.id or item_id("rs", self._response_id, position)
        return Reasoning(id=identifier, summary=item.summary, content=content)

    def _read_compaction(self, raw: msgspec.Raw, where: str, position: int) -> Compaction:
        item = _compaction.decode(raw)
        self._open(item.encrypted_content, COMPACTION, f"{where}.encrypted_content")
        identifier = item.id or item_id("cmp", self._response_id, position)
        return Compaction(id=identifier, encrypted_content=item.encrypted_content)

    def _read_call(self, raw: msgspec.Raw, where: str, position: int) -> FunctionCall:
        item = _call.decode(raw)
        return FunctionCall(
            id=item.id or item_id("fc", self._response_id, position),
            call_id=item.call_id,
            name=item.name,
            arguments=item.arguments,
            status=item.status or "completed",
            namespace=item.namespace or msgspec.UNSET,
        )

    def _read_output(self, raw: msgspec.Raw, where: str, position: int) -> FunctionCallOutput:
        item = _output.decode(raw)
        return FunctionCallOutput(
            id=item.id or item_id("fco", self._response_id, position),
            call_id=item.call_id,
            output=_as_sent(item.output),
            status=item.status or "completed",
        )

    def _read_custom_call(self, raw: msgspec.Raw, where: str, position: int) -> CustomToolCall:
        item = _custom_call.decode(raw)
        return CustomToolCall(
            id=item.id or item_id("ctc", self._response_id, position),
            call_id=item.call_id,
            name=item.name,
            input=item.input,
            status="incomplete" if item.status == "incomplete" else msgspec.UNSET,
            namespace=item.namespace or msgspec.UNSET,
        )

    def _read_custom_output(self, raw: msgspec.Raw, where: str, position: int) -> CustomToolCallOutput:
        item = _output.decode(raw)
        identifier = item.id or item_id("ctco", self._response_id, position)
        return CustomToolCallOutput(id=identifier, call_id=item.call_id, output=_as_sent(item.output))

    def _read_mcp_list(self, raw: msgspec.Raw, where: str, position: int) -> McpListTools:
        item = _mcp_list.decode(raw)
        identifier = item.id or item_id("mcpl", self._response_id, position)
        return McpListTools(id=identifier, server_label=item.server_label, tools=item.tools, error=item.error)

    def _read_mcp_call(self, raw: msgspec.Raw, where: str, position: int) -> McpCall:
        item = _mcp_call.decode(raw)
        error = item.error
        if isinstance(error, str):
            error = McpToolExecutionError(content=[{"type": "text", "text": error}])
        return McpCall(
            id=item.id or item_id("mcp", self._response_id, position),
            server_label=item.server_label,
            name=item.name,
            arguments=item.arguments,
            approval_request_id=item.approval_request_id,
            output=item.output,
            error=error,
            status=item.status or ("failed" if error else "completed"),
        )

    def _read_approval_request(self, raw: msgspec.Raw, where: str, position: int) -> McpApprovalRequest:
        item = _approval_request.decode(raw)
        return McpApprovalRequest(id=item.id, server_label=item.server_label, name=item.name, arguments=item.arguments)

    def _read_approval_response(self, raw: msgspec.Raw, where: str, position: int) -> McpApprovalResponse:
        item = _approval_response.decode(raw)
        return McpApprovalResponse(
            id=item.id or item_id("mcpa", self._response_id, position),
            approval_request_id=item.approval_request_id,
            approve=item.approve,
            reason=item.reason,
        )

    def _read_reference(self, raw: msgspec.Raw, where: str, position: int) -> ItemReference:
        return _reference.decode(raw)

    def _open(self, sealed: str, purpose: str, where: str) -> str:
        try:
            return require_sealer(self._sealer, where).open(sealed, owner=self._owner, purpose=purpose)
        except SealBroken as error:
            message = f"{where} cannot be read: {error}."
            raise ApiError(400, message, param=where, code="invalid_encrypted_content") from None


def _as_sent(output: str | list[InputPart]) -> str | list[InputPart]:
    return output if isinstance(output, str) else as_sent(output)


def require_sealer(sealer: Sealer | None, where: str | None) -> Sealer:
    """The sealer. Raises ApiError where the operator has set no key; `where` is the place that needs it, None: all."""
    if sealer is None:
        message = f"{where or 'This'} needs the setting ENCRYPTION_KEY, which this server does not have."
        raise ApiError(400, message, param=where, code="unsupported_parameter")
    return sealer
