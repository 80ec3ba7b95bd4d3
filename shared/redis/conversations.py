"""Conversations: ordered items with metadata, which responses read and add to.

A response that belongs to a conversation holds it from its creation to its end: `create.lua` and `finish.lua` take and
give up the hold together with the rest of what they do. The hold is the response's id, and void once that response has
ended, is gone, or has lost its job. Positions of items only grow, so "what was there then" is a position.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from shared.redis import keys, scripts
from shared.redis.scripts import Argument
from shared.schema.conversation import Conversation
from shared.schema.items import CustomToolCall, CustomToolCallOutput, FunctionCall, FunctionCallOutput, Item, text_bytes

RETRIED_SECONDS = 60  # after which a deletion is not retried any more

_encode = msgspec.json.Encoder().encode
_item = msgspec.json.Decoder(Item)
_names = msgspec.json.Decoder(dict[str, str])


class ConversationGone(Exception):
    """This owner has no such conversation."""


class ConversationHeld(Exception):
    """Nothing was written: a response runs on the conversation."""

    def __init__(self, response_id: str) -> None:
        super().__init__(response_id)
        self.response_id = response_id


class ConversationChanged(Exception):
    """Nothing was written: the conversation is not the one that was read."""


class ItemRepeated(Exception):
    """Nothing was written: the conversation holds an item of this id already."""

    def __init__(self, item_id: str) -> None:
        super().__init__(item_id)
        self.item_id = item_id


class Opening(Struct, kw_only=True):
    """What a context begins with: a conversation's items at positions below `before`."""

    conversation: str
    before: int
    bytes: int = 0  # of text in them
    waiting: dict[str, str] = {}  # calls among them that wait for their output: kind of output by call_id
    version: int = 0


def names(conversation_id: str) -> list[str]:
    """The three keys of a conversation, as every script takes them."""
    return [keys.conversation(conversation_id), keys.order(conversation_id), keys.items(conversation_id)]


def pairs(items: Sequence[Item]) -> list[str | bytes]:
    """Items as scripts take them: id, encoded item, id, encoded item ..."""
    return [part for item in items for part in (item.id, _encode(item))]


def calls(items: Sequence[Item]) -> bytes:
    """What items change about the calls that wait for their output, as scripts take it. A cut call waits for none."""
    changes: list[tuple[str, str]] = []
    for item in items:
        match item:
            case FunctionCall(status="incomplete") | CustomToolCall(status="incomplete"):
                continue
            case FunctionCall():
                changes.append((item.call_id, "function_call_output"))
            case CustomToolCall():
                changes.append((item.call_id, "custom_tool_call_output"))
            case FunctionCallOutput() | CustomToolCallOutput():
                changes.append((item.call_id, ""))
    return _encode(changes)


def refuse(outcome: Sequence[bytes | int]) -> None:
    """Raises what a script's outcome says: {1} gone, {2, response id} held, {3, item id} repeated, {4} changed."""
    match outcome:
        case [1]:
            raise ConversationGone
        case [2, bytes(response_id)]:
            raise ConversationHeld(response_id.decode())
        case [3, bytes(item_id)]:
            raise ItemRepeated(item_id.decode())
        case [4]:
            raise ConversationChanged


async def create(redis: Redis, conversation: Conversation, items: Sequence[Item], owner: str, ttl_seconds: int) -> None:
    metadata = _encode(conversation.metadata)
    fixed: list[Argument] = [owner, conversation.created_at, metadata, ttl_seconds, text_bytes(items), calls(items)]
    await scripts.CONVERSATION_CREATE.call(redis, names(conversation.id), [*fixed, *pairs(items)])


async def read(redis: Redis, conversation_id: str, owner: str) -> Conversation:
    """Raises ConversationGone."""
    found, created_at, metadata = await _hmget(redis, conversation_id, "owner", "created_at", "metadata")
    if found != owner.encode():
        raise ConversationGone
    return Conversation(id=conversation_id, created_at=int(created_at or 0), metadata=_names.decode(metadata or b"{}"))


async def read_opening(redis: Redis, conversation_id: str, owner: str) -> Opening:
    """Everything a conversation holds now. Raises ConversationGone."""
    fields = ("owner", "next", "bytes", "waiting", "version")
    found, following, size, waiting, version = await _hmget(redis, conversation_id, *fields)
    if found != owner.encode():
        raise ConversationGone
    return Opening(
        conversation=conversation_id,
        before=int(following or 0),
        bytes=int(size or 0),
        waiting=_names.decode(waiting or b"{}"),
        version=int(version or 0),
    )


async def update(
    redis: Redis, conversation_id: str, owner: str, metadata: dict[str, str], ttl_seconds: int
) -> Conversation:
    """Replaces the metadata. Raises ConversationGone."""
    arguments: list[Argument] = [owner, _encode(metadata), ttl_seconds]
    created_at = await scripts.CONVERSATION_UPDATE.call(redis, names(conversation_id), arguments)
    if created_at is None:
        raise ConversationGone
    return Conversation(id=conversation_id, created_at=int(created_at), metadata=metadata)


async def delete(redis: Redis, conversation_id: str, owner: str) -> None:
    """A response that runs on it goes on, and adds nothing. Raises ConversationGone."""
    arguments: list[Argument] = [owner, secrets.token_hex(8), RETRIED_SECONDS]
    if not await scripts.CONVERSATION_DELETE.call(
        redis, [*names(conversation_id), keys.deleted(conversation_id)], arguments
    ):
        raise ConversationGone


async def add(redis: Redis, conversation_id: str, owner: str, items: Sequence[Item], ttl_seconds: int) -> None:
    """Adds all the items or none. Raises ConversationGone, ConversationHeld, ItemRepeated."""
    about: list[Argument] = [text_bytes(items), calls(items)]
    fixed = [owner, keys.RESPONSE_PREFIX, keys.JOB_PREFIX, ttl_seconds, *about]
    refuse(await scripts.CONVERSATION_ADD.call(redis, names(conversation_id), [*fixed, *pairs(items)]))


async def remove(redis: Redis, conversation_id: str, owner: str, item: Item, ttl_seconds: int) -> None:
    """Raises ConversationGone, ConversationHeld."""
    gone = [(item.call_id, "")] if isinstance(item, FunctionCall | CustomToolCall) else []
    about: list[Argument] = [item.id, text_bytes([item]), _encode(gone)]
    arguments = [owner, keys.RESPONSE_PREFIX, keys.JOB_PREFIX, ttl_seconds, *about]
    refuse(await scripts.CONVERSATION_REMOVE.call(redis, names(conversation_id), arguments))


async def read_item(redis: Redis, conversation_id: str, owner: str, item_id: str) -> Item | None:
    """One item, None when it is not in the conversation. Raises ConversationGone."""
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.hget(keys.conversation(conversation_id), "owner")
        pipeline.hget(keys.items(conversation_id), item_id)
        found, encoded = await pipeline.execute()
    if found != owner.encode():
        raise ConversationGone
    return _item.decode(encoded) if encoded is not None else None


async def read_page(
    redis: Redis, conversation_id: str, owner: str, *, limit: int, newest_first: bool, after: str | None
) -> list[Item] | None:
    """Up to `limit` items behind `after`, and one more where there are more; None when `after` is not in it.

    Raises ConversationGone.
    """
    arguments: list[Argument] = [owner, limit, int(newest_first), after or ""]
    outcome = await scripts.CONVERSATION_PAGE.call(redis, names(conversation_id), arguments)
    match outcome:
        case [1]:
            raise ConversationGone
        case [2]:
            return None
    return [_item.decode(encoded) for encoded in outcome[1:]]


async def read_items(redis: Redis, opening: Opening) -> list[Item]:
    """The items an opening means, oldest first; those that were deleted are missing."""
    found = await scripts.CONVERSATION_ITEMS.call(redis, names(opening.conversation)[1:], [opening.before])
    return [_item.decode(encoded) for encoded in found]


async def _hmget(redis: Redis, conversation_id: str, *fields: str) -> list[bytes | None]:
    values: list[bytes | None] = await redis.hmget(keys.conversation(conversation_id), list(fields))  # type: ignore[misc]
    return values
