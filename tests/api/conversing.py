"""Conversations in tests: requests by method, and strict checks of the objects against the types of `openai`."""

from __future__ import annotations

from typing import Any

from openai.types.conversations import Conversation, ConversationDeletedResource, ConversationItem, ConversationItemList
from pydantic import TypeAdapter

from tests.stack import Stack

_conversation: TypeAdapter[Conversation] = TypeAdapter(Conversation)
_deleted: TypeAdapter[ConversationDeletedResource] = TypeAdapter(ConversationDeletedResource)
_item: TypeAdapter[Any] = TypeAdapter(ConversationItem)
_items: TypeAdapter[ConversationItemList] = TypeAdapter(ConversationItemList)


async def call(stack: Stack, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """One request to /v1/conversations...; a good answer is checked to be the right object."""
    async with stack.http.request(method, f"{stack.url}/v1/conversations{path}", json=body) as answer:
        decoded = await answer.json()
        if answer.status == 200:
            check(decoded)
        return answer.status, decoded


def check(body: Any) -> None:
    """Validates an object strictly."""
    kinds = {"conversation": _conversation, "conversation.deleted": _deleted, "list": _items}
    kinds.get(body.get("object"), _item).validate_python(body, strict=True)


async def new(stack: Stack, *texts: str, **fields: Any) -> str:
    """The id of a new conversation with a user message for each text."""
    items = [{"role": "user", "content": text} for text in texts]
    status, conversation = await call(stack, "POST", "", {"items": items, **fields})
    assert status == 200, conversation
    identifier: str = conversation["id"]
    return identifier


async def items_of(stack: Stack, conversation_id: str, query: str = "order=asc&limit=100") -> list[Any]:
    status, page = await call(stack, "GET", f"/{conversation_id}/items?{query}")
    assert status == 200, page
    found: list[Any] = page["data"]
    return found


async def texts_of(stack: Stack, conversation_id: str) -> list[str]:
    """What the messages of a conversation say, oldest first."""
    items = await items_of(stack, conversation_id)
    return [part["text"] for item in items if item["type"] == "message" for part in item["content"]]
