"""`/v1/responses`: create, retrieve, resume, delete."""

from __future__ import annotations

import msgspec
from aiohttp import web

from api.context import CREATION, REDIS, SETTINGS, STREAMS
from api.errors import ApiError, response_not_found, server_error
from api.follower import ResponseGone
from api.streams import cancelled_when_left
from api.validation import check_supported, decode_input, decode_request
from shared.redis import records
from shared.schema.response import ResponseError

OWNER = "public"
"""Whose responses these are, as long as there are no API keys."""

routes = web.RouteTableDef()


@routes.post("/v1/responses")
async def create_response(request: web.Request) -> web.StreamResponse:
    body = decode_request(await request.read())
    check_supported(body)
    items = decode_input(body, request.app[SETTINGS])
    creation, streams, redis = request.app[CREATION], request.app[STREAMS], request.app[REDIS]
    draft = await creation.draft(body, items, OWNER)
    response = draft.record.response
    channel = streams.events_of(response.id) if body.stream else streams.end_of(response.id)
    try:
        async with channel as subscription:
            await creation.create(draft)
            async with cancelled_when_left(redis, response.id):
                if body.stream:
                    return await streams.send(request, response.id, subscription, first=draft.created)
                return _outcome(await streams.result(response.id, subscription))
    except ResponseGone:
        raise server_error(f"The response '{response.id}' was deleted before its end.") from None
    finally:
        if not response.store:
            await records.forget(redis, response.id)


@routes.get("/v1/responses/{id}")
async def retrieve_response(request: web.Request) -> web.StreamResponse:
    response_id = request.match_info["id"]
    encoded = await records.read_response(request.app[REDIS], response_id, OWNER)
    if encoded is None:
        raise response_not_found(response_id)
    if not _flag(request, "stream"):
        return _result(encoded)
    after = _starting_after(request)
    streams = request.app[STREAMS]
    async with streams.events_of(response_id) as subscription:
        return await streams.send(request, response_id, subscription, after=after)


@routes.delete("/v1/responses/{id}")
async def delete_response(request: web.Request) -> web.Response:
    response_id = request.match_info["id"]
    if not await records.delete(request.app[REDIS], response_id, OWNER):
        raise response_not_found(response_id)
    return web.json_response({"id": response_id, "object": "response", "deleted": True})


class _Outcome(msgspec.Struct):
    id: str
    error: ResponseError | None = None


_decode_outcome = msgspec.json.Decoder(_Outcome).decode


def _outcome(encoded: bytes) -> web.Response:
    """The answer to a client that waited. Raises ApiError where the response failed: nothing else would tell it."""
    outcome = _decode_outcome(encoded)
    if outcome.error is None:
        return _result(encoded)
    message = f"{outcome.error.message} (response {outcome.id})"
    if outcome.error.code == "invalid_prompt":
        raise ApiError(400, message, param="input", code=outcome.error.code)
    raise server_error(message)


def _result(encoded: bytes) -> web.Response:
    return web.Response(body=encoded, content_type="application/json")


def _flag(request: web.Request, name: str) -> bool:
    value = request.query.get(name, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise ApiError(400, f"{name} is '{value}', expected true or false.", param=name, code="invalid_value")
    return value in ("true", "1")


def _starting_after(request: web.Request) -> int:
    value = request.query.get("starting_after", "-1")
    try:
        return max(int(value), -1)
    except ValueError:
        message = f"starting_after is '{value}', expected the sequence_number of an event."
        raise ApiError(400, message, param="starting_after", code="invalid_value") from None
