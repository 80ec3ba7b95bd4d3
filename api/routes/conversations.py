"""`/v1/conversations`: create, retrieve, update, delete; and their items."""

from __future__ import annotations

import time
from functools import partial

import msgspec
from aiohttp import web

from api.approvals import check_added_answers, check_answers
from api.auth import owner_of
from api.body import decoded, read_body
from api.context import CREATION, REDIS, SETTINGS
from api.conversations import check_distinct, refusals
from api.errors import ApiError, shown
from api.including import read_include, revealed
from api.limits import check_metadata
from api.paging import ItemList, read_page
from api.validation import decode_body
from shared.redis import conversations
from shared.schema.conversation import (
    MAX_NEW_ITEMS,
    Conversation,
    ConversationDeleted,
    CreateConversation,
    CreateItems,
    UpdateConversation,
)
from shared.schema.ids import new_id
from shared.schema.items import Item

routes = web.RouteTableDef()

_create = msgspec.json.Decoder(CreateConversation)
_update = msgspec.json.Decoder(UpdateConversation)
_create_items = msgspec.json.Decoder(CreateItems)


@routes.post("/v1/conversations")
async def create_conversation(request: web.Request) -> web.Response:
    body = await decoded(await read_body(request) or b"{}", partial(decode_body, _create))
    items = await _read_items(request, body.items or [])
    check_answers(items, [], "items")
    check_metadata(body.metadata or {}, request.app[SETTINGS])
    conversation = Conversation(id=new_id("conv"), created_at=int(time.time()), metadata=body.metadata or {})
    await conversations.create(request.app[REDIS], conversation, items, owner_of(request), _ttl(request))
    return _result(conversation)


@routes.get("/v1/conversations/{id}")
async def retrieve_conversation(request: web.Request) -> web.Response:
    conversation_id = request.match_info["id"]
    with refusals(conversation_id):
        return _result(await conversations.read(request.app[REDIS], conversation_id, owner_of(request)))


@routes.post("/v1/conversations/{id}")
async def update_conversation(request: web.Request) -> web.Response:
    conversation_id = request.match_info["id"]
    body = await decoded(await read_body(request), partial(decode_body, _update))
    metadata = body.metadata or {}
    check_metadata(metadata, request.app[SETTINGS])
    with refusals(conversation_id):
        redis = request.app[REDIS]
        return _result(await conversations.update(redis, conversation_id, owner_of(request), metadata, _ttl(request)))


@routes.delete("/v1/conversations/{id}")
async def delete_conversation(request: web.Request) -> web.Response:
    conversation_id = request.match_info["id"]
    with refusals(conversation_id):
        await conversations.delete(request.app[REDIS], conversation_id, owner_of(request))
    return _result(ConversationDeleted(id=conversation_id))


@routes.post("/v1/conversations/{id}/items")
async def create_items(request: web.Request) -> web.Response:
    conversation_id = request.match_info["id"]
    include = read_include(request)
    body = await decoded(await read_body(request), partial(decode_body, _create_items))
    items = await _read_items(request, body.items)
    with refusals(conversation_id):
        await check_added_answers(request.app[REDIS], items, conversation_id, owner_of(request))
        await conversations.add(request.app[REDIS], conversation_id, owner_of(request), items, _ttl(request))
    return _result(_list([revealed(item, include) for item in items], has_more=False))


@routes.get("/v1/conversations/{id}/items")
async def list_items(request: web.Request) -> web.Response:
    conversation_id = request.match_info["id"]
    wanted, include = read_page(request), read_include(request)
    with refusals(conversation_id):
        items = await conversations.read_page(
            request.app[REDIS],
            conversation_id,
            owner_of(request),
            limit=wanted.limit,
            newest_first=wanted.order == "desc",
            after=wanted.after,
        )
    if items is None:
        message = f"after is '{shown(wanted.after or '')}', which is no item of this conversation."
        raise ApiError(400, message, param="after", code="invalid_value")
    page = [revealed(item, include) for item in items[: wanted.limit]]
    return _result(_list(page, has_more=len(items) > wanted.limit))


@routes.get("/v1/conversations/{id}/items/{item_id}")
async def retrieve_item(request: web.Request) -> web.Response:
    include = read_include(request)
    return _result(revealed(await _item(request), include))


@routes.delete("/v1/conversations/{id}/items/{item_id}")
async def delete_item(request: web.Request) -> web.Response:
    redis, conversation_id = request.app[REDIS], request.match_info["id"]
    item = await _item(request)
    with refusals(conversation_id):
        await conversations.remove(redis, conversation_id, owner_of(request), item, _ttl(request))
        return _result(await conversations.read(redis, conversation_id, owner_of(request)))


async def _item(request: web.Request) -> Item:
    conversation_id, item_id = request.match_info["id"], request.match_info["item_id"]
    with refusals(conversation_id):
        item = await conversations.read_item(request.app[REDIS], conversation_id, owner_of(request), item_id)
    if item is None:
        message = f"Item with id '{shown(item_id)}' not found in the conversation '{shown(conversation_id)}'."
        raise ApiError(404, message, param="item_id", code="item_not_found")
    return item


async def _read_items(request: web.Request, raw: list[msgspec.Raw]) -> list[Item]:
    items = await request.app[CREATION].read_items(raw, "items", MAX_NEW_ITEMS, owner_of(request))
    check_distinct(items)
    return items


def _list(items: list[Item], *, has_more: bool) -> ItemList:
    first_id, last_id = (items[0].id, items[-1].id) if items else ("", "")
    return ItemList(data=items, first_id=first_id, last_id=last_id, has_more=has_more)


def _ttl(request: web.Request) -> int:
    return request.app[SETTINGS].conversation_ttl_seconds


def _result(body: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")
