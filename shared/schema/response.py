"""The Response object: the union of what OpenAI and Open Responses require, nulls included."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from shared.schema.items import OutputItem
from shared.schema.request import PlainFormat, TextFormat
from shared.schema.tools import Tool, ToolChoice

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
TERMINAL: frozenset[str] = frozenset({"completed", "incomplete", "failed", "cancelled"})

CONTINUABLE: frozenset[str] = frozenset({"completed", "incomplete"})
"""How a response has to end for others to go on from it, and for its conversation to take its items."""


class IncompleteDetails(Struct, kw_only=True):
    reason: Literal["max_output_tokens", "content_filter"]


class ResponseError(Struct, kw_only=True):
    """Why a response failed. `code` is one of OpenAI's; local models use `server_error` and `invalid_prompt`."""

    code: str
    message: str


class InputTokensDetails(Struct, kw_only=True):
    cached_tokens: int = 0  # prompt tokens found in the KV cache
    cache_write_tokens: int = 0  # prompt tokens computed for this response, which the KV cache keeps


class OutputTokensDetails(Struct, kw_only=True):
    reasoning_tokens: int = 0


class Usage(Struct, kw_only=True):
    """Token counts of a response; what an end token or a format's markers cost is counted too."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ConversationRef(Struct, kw_only=True):
    """The conversation a response belongs to: its input and output items are added to it."""

    id: str


class ReasoningConfig(Struct, kw_only=True):
    effort: str | None = None
    summary: str | None = None


class TextConfig(Struct, kw_only=True):
    format: TextFormat
    verbosity: Literal["low", "medium", "high"] | UnsetType = UNSET


class Response(Struct, kw_only=True):
    """https://platform.openai.com/docs/api-reference/responses/object ; times are Unix seconds."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status
    background: bool = False
    conversation: ConversationRef | None = None
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    model: str
    output: list[OutputItem] = field(default_factory=list)
    parallel_tool_calls: bool = True
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    reasoning: ReasoningConfig = field(default_factory=ReasoningConfig)
    safety_identifier: str | None = None
    service_tier: str = "default"
    store: bool = True
    temperature: float
    text: TextConfig = field(default_factory=lambda: TextConfig(format=PlainFormat()))
    tool_choice: ToolChoice = "auto"
    tools: list[Tool] = field(default_factory=list)
    top_logprobs: int = 0
    top_p: float
    truncation: Literal["auto", "disabled"] = "disabled"
    usage: Usage | None = None
    user: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    access_programs: None = None
