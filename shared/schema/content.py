"""Content parts of messages and reasoning items."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class InputText(Struct, tag_field="type", tag="input_text", kw_only=True):
    text: str


class TopLogprob(Struct, kw_only=True):
    token: str
    bytes: list[int]
    logprob: float


class Logprob(Struct, kw_only=True):
    """A token of the answer with its probability, and the likeliest tokens in its place (natural logarithms)."""

    token: str
    bytes: list[int]
    logprob: float
    top_logprobs: list[TopLogprob] = field(default_factory=list)


class OutputText(Struct, tag_field="type", tag="output_text", kw_only=True):
    text: str
    annotations: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)


class Refusal(Struct, tag_field="type", tag="refusal", kw_only=True):
    refusal: str


class ReasoningText(Struct, tag_field="type", tag="reasoning_text", kw_only=True):
    text: str


class SummaryText(Struct, tag_field="type", tag="summary_text", kw_only=True):
    text: str


MessagePart = InputText | OutputText | Refusal
"""What a message may hold, as input or as output."""


def text_of(part: MessagePart) -> str:
    """The words of a content part, as the model reads them."""
    return part.refusal if isinstance(part, Refusal) else part.text
