"""Content parts of messages and reasoning items."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

from msgspec import UNSET, Struct, UnsetType, field, structs


class InputText(Struct, tag_field="type", tag="input_text", kw_only=True):
    text: str


class SeenImage(Struct, kw_only=True):
    """What the front end found out about an image; workers rely on it. Sizes in pixels."""

    digest: str  # SHA-256 of the file, in hexadecimal digits
    width: int
    height: int
    data_url: str | None = None  # the file, where `image_url` is an address


class ReadFile(Struct, kw_only=True):
    """What the front end read in a file: `text` is what the model is shown."""

    name: str
    kind: str  # such as "PDF, 3 pages"
    text: str


class InputImage(Struct, tag_field="type", tag="input_image", kw_only=True):
    """An image, as a data URL or as an address. `seen` is stored with it, and never shown to clients."""

    detail: Literal["low", "high", "auto", "original"] | None = "auto"
    image_url: str | None = None
    file_id: str | UnsetType | None = UNSET
    seen: SeenImage | UnsetType = field(default=UNSET, name="_seen")


class InputFile(Struct, tag_field="type", tag="input_file", kw_only=True):
    """A file with text in it. `read` is stored with it, and never shown to clients."""

    filename: str | UnsetType | None = UNSET
    file_data: str | UnsetType | None = UNSET
    file_url: str | UnsetType | None = UNSET
    file_id: str | UnsetType | None = UNSET
    detail: Literal["low", "high", "auto"] | UnsetType | None = UNSET
    read: ReadFile | UnsetType = field(default=UNSET, name="_read")


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


InputPart = InputText | InputImage | InputFile
"""What a user's message may hold, and what a tool may return."""

MessagePart = InputText | InputImage | InputFile | OutputText | Refusal
"""What a message may hold, as input or as output."""

Part = TypeVar("Part", bound=MessagePart)


def text_of(part: MessagePart) -> str:
    """The words of a content part, as the model reads them; an image has none."""
    match part:
        case Refusal():
            return part.refusal
        case InputImage():
            return ""
        case InputFile():
            return _file_text(part.read) if part.read else ""
    return part.text


def as_sent(parts: Iterable[Part]) -> list[Part]:
    """Content parts as clients know them."""
    return [_as_sent(part) for part in parts]


def _as_sent(part: Part) -> Part:
    if isinstance(part, InputImage):
        return structs.replace(part, seen=UNSET)
    return structs.replace(part, read=UNSET) if isinstance(part, InputFile) else part


def _file_text(file: ReadFile) -> str:
    """A file in a fence that nothing in it can end: https://spec.commonmark.org/0.31.2/#fenced-code-blocks"""
    longest = max(map(len, _BACKTICKS.findall(file.text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"File: {file.name} ({file.kind})\n{fence}\n{file.text}\n{fence}"


_BACKTICKS = re.compile("`+")
