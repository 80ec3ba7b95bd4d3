"""Lists in pages, as OpenAI's cursor pagination has them: `limit`, `order`, `after`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from aiohttp import web
from msgspec import Struct

from api.errors import ApiError, shown
from shared.schema.items import Item

MAX_LIMIT = 100
DEFAULT_LIMIT = 20


class Page(Struct, kw_only=True):
    """What part of a list is wanted."""

    limit: int = DEFAULT_LIMIT
    order: Literal["asc", "desc"] = "desc"  # newest first, as OpenAI does
    after: str | None = None  # the last id of the page before


class ItemList(Struct, kw_only=True):
    """https://platform.openai.com/docs/api-reference/responses/input-items"""

    object: Literal["list"] = "list"
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool


def read_page(request: web.Request) -> Page:
    """The page a query asks for. Raises ApiError."""
    query = request.query
    limit = query.get("limit", str(DEFAULT_LIMIT))
    if not limit.isdecimal() or not 1 <= int(limit) <= MAX_LIMIT:
        message = f"limit is '{shown(limit)}', expected a number from 1 to {MAX_LIMIT}."
        raise ApiError(400, message, param="limit", code="invalid_value")
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise ApiError(
            400, f"order is '{shown(order)}', expected 'asc' or 'desc'.", param="order", code="invalid_value"
        )
    return Page(limit=int(limit), order="asc" if order == "asc" else "desc", after=query.get("after"))


def page(items: Sequence[Item], wanted: Page) -> ItemList:
    """The page `wanted` of `items`, which are oldest first. Raises ApiError when `after` is none of them."""
    ordered = list(items) if wanted.order == "asc" else list(reversed(items))
    if wanted.after is not None:
        position = next((n for n, item in enumerate(ordered) if item.id == wanted.after), None)
        if position is None:
            message = f"after is '{shown(wanted.after)}', which is no item of this list."
            raise ApiError(400, message, param="after", code="invalid_value")
        ordered = ordered[position + 1 :]
    data = ordered[: wanted.limit]
    return ItemList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(ordered) > len(data),
    )
