"""`include`: what of an item is shown only to those who ask for it."""

from __future__ import annotations

from aiohttp import web
from msgspec import UNSET
from msgspec.structs import replace

from api.errors import ApiError, shown
from api.validation import ENCRYPTED_REASONING, INCLUDABLE, LOGPROBS
from shared.schema.content import OutputText
from shared.schema.items import Item, Message, Reasoning, shown_to_client


def read_include(request: web.Request) -> frozenset[str]:
    """The values of the query's `include` (or `include[]`, as the SDKs write it). Raises ApiError."""
    values = [*request.query.getall("include", []), *request.query.getall("include[]", [])]
    for position, value in enumerate(values):
        if value not in INCLUDABLE:
            message = f"include[{position}] is '{shown(value)}', expected one of {', '.join(sorted(INCLUDABLE))}."
            raise ApiError(400, message, param=f"include[{position}]", code="invalid_value")
    return frozenset(values)


def revealed(item: Item, include: frozenset[str]) -> Item:
    """An item without what was not asked for, and without what is only stored with it."""
    item = shown_to_client(item)
    match item:
        case Message() if LOGPROBS not in include:
            parts = [replace(part, logprobs=[]) if isinstance(part, OutputText) else part for part in item.content]
            return replace(item, content=parts)
        case Reasoning() if ENCRYPTED_REASONING not in include:
            return replace(item, encrypted_content=UNSET)
    return item
