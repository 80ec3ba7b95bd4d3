"""What a request's `conversation` means, and how its refusals read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import Redis

from api.errors import ApiError, shown
from shared.redis import conversations
from shared.redis.conversations import (
    ConversationChanged,
    ConversationGone,
    ConversationHeld,
    ItemRepeated,
    Opening,
)
from shared.schema.items import Item
from shared.schema.request import CreateResponse

RETRY_SECONDS = 1


async def read_opening(redis: Redis, request: CreateResponse, owner: str) -> Opening | None:
    """What a request's conversation holds, None when it names none. Raises ApiError: 400, 404."""
    conversation_id = request.conversation_id
    if conversation_id is None:
        return None
    if request.previous_response_id is not None:
        message = "`conversation` and `previous_response_id` exclude each other: give one of them."
        raise ApiError(400, message, param="conversation", code="mutually_exclusive_parameters")
    with refusals(conversation_id, param="conversation"):
        return await conversations.read_opening(redis, conversation_id, owner)


@contextmanager
def refusals(conversation_id: str, param: str | None = "conversation_id") -> Iterator[None]:
    """Turns what `shared.redis.conversations` raises into ApiError."""
    try:
        yield
    except ConversationGone:
        message = f"Conversation with id '{shown(conversation_id)}' not found."
        raise ApiError(404, message, param=param, code="conversation_not_found") from None
    except ConversationHeld as held:
        reason = f"The response '{held.response_id}' is running on the conversation '{conversation_id}'."
        raise _locked(f"{reason} Try again when it has ended.", param) from None
    except ConversationChanged:
        raise _locked(f"The conversation '{conversation_id}' has just been changed. Try again.", param) from None
    except ItemRepeated as repeated:
        raise item_repeated(repeated.item_id) from None


def check_distinct(items: list[Item]) -> None:
    """A conversation holds an id once. Raises ApiError."""
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise item_repeated(item.id)
        seen.add(item.id)


def _locked(message: str, param: str | None) -> ApiError:
    """The SDKs try a 409 again on their own."""
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return ApiError(409, message, param=param, code="conversation_locked", headers=headers)


def item_repeated(item_id: str) -> ApiError:
    reason = f"Duplicate item found with id '{shown(item_id)}'."
    message = f"{reason} A conversation holds an item once: send only what is new."
    return ApiError(400, message, param="input", code="duplicate_item")
