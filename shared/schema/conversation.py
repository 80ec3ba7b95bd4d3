"""`/v1/conversations`: lists of items that responses are added to.

https://platform.openai.com/docs/api-reference/conversations
"""

from __future__ import annotations

from typing import Literal

from msgspec import Raw, Struct, field

from shared.schema.request import Metadata

MAX_NEW_ITEMS = 20  # of one request, as OpenAI has it


class Conversation(Struct, kw_only=True):
    """The conversation object; times are Unix seconds."""

    id: str
    object: Literal["conversation"] = "conversation"
    created_at: int
    metadata: dict[str, str] = field(default_factory=dict)


class ConversationDeleted(Struct, kw_only=True):
    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: Literal[True] = True


class CreateConversation(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/conversations`."""

    items: list[Raw] | None = None
    metadata: Metadata | None = None


class UpdateConversation(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/conversations/{id}`."""

    metadata: Metadata | None


class CreateItems(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/conversations/{id}/items`."""

    items: list[Raw]
