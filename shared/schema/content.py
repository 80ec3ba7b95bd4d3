"""Content parts of messages and reasoning items."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class InputText(Struct, tag_field="type", tag="input_text", kw_only=True):
    text: str


class OutputText(Struct, tag_field="type", tag="output_text", kw_only=True):
    text: str
    annotations: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)


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
