"""The body of `POST /v1/responses`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
MAX_STREAM_ID = 256  # characters
SummaryStyle = Literal["auto", "concise", "detailed"]

Metadata = dict[str, str]  # `api.limits` knows how many and how long
Count = Annotated[int, Meta(ge=1, le=2**53 - 1)]  # an integer that every JSON reader represents exactly


class ReasoningOptions(Struct, kw_only=True):
    effort: Effort | None = None
    summary: SummaryStyle | None = None
    generate_summary: SummaryStyle | None = None


class StreamOptions(Struct, kw_only=True):
    include_obfuscation: bool | None = None


class PlainFormat(Struct, tag_field="type", tag="text", kw_only=True):
    pass


class JsonObjectFormat(Struct, tag_field="type", tag="json_object", kw_only=True):
    pass


class JsonSchemaFormat(Struct, tag_field="type", tag="json_schema", kw_only=True):
    name: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


TextFormat = PlainFormat | JsonObjectFormat | JsonSchemaFormat


class TextOptions(Struct, kw_only=True):
    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ConversationParam(Struct, kw_only=True, forbid_unknown_fields=True):
    id: str


class ContextManagement(Struct, kw_only=True):
    """Summarise the conversation first when its prompt has more than `compact_threshold` tokens."""

    type: Literal["compaction"]
    compact_threshold: Annotated[int, Meta(ge=1)] | None = None


class CompactRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/responses/compact`."""

    model: str | None = None
    input: str | list[Raw] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None


class CreateResponse(Struct, kw_only=True, forbid_unknown_fields=True):
    """Every field of the SDK's `ResponseCreateParams`. `api.validation` refuses what cannot be honoured."""

    model: str | None = None
    input: str | list[Raw] | None = None
    instructions: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: str | ConversationParam | None = None
    include: list[str] | None = None
    metadata: Metadata | None = None
    max_output_tokens: Count | None = None
    max_tool_calls: Count | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    text: TextOptions | None = None
    tools: list[Raw] | None = None
    tool_choice: Any = None
    truncation: Literal["auto", "disabled"] | None = None
    context_management: Annotated[list[ContextManagement], Meta(max_length=1)] | None = None
    service_tier: str | None = None
    prompt: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    safety_identifier: str | None = None
    user: str | None = None
    moderation: dict[str, Any] | None = None
    access_programs: dict[str, Any] | None = None
    background_options: dict[str, Any] | None = None
    image: dict[str, Any] | None = None
    client_metadata: dict[str, Any] | None = None  # Codex' telemetry; ignored

    @property
    def conversation_id(self) -> str | None:
        return self.conversation.id if isinstance(self.conversation, ConversationParam) else self.conversation

    @property
    def prewarm(self) -> bool:
        """Whether the prompt is only to be computed, so that the KV cache holds it."""
        return (self.prompt_cache_options or {}).get("prewarm") is True


class CreateFrame(CreateResponse, kw_only=True):
    """A WebSocket's `response.create` frame: the body of a request, flat, with what only a frame may have.

    Frames with the same `stream_id` are a lane: they are answered one after the other.
    """

    type: Literal["response.create"]
    stream_id: Annotated[str, Meta(min_length=1, max_length=MAX_STREAM_ID)] | None = None
    generate: bool | None = None  # false: only prepare, generate nothing

    @property
    def prewarm(self) -> bool:
        return self.generate is False or super().prewarm
