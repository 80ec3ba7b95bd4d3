"""`/v1/responses`: create, retrieve, resume, cancel, delete; input items and token counts."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import msgspec
from aiohttp import web
from redis.exceptions import RedisError

from api.admission import RETRY_UNKNOWN_SECONDS, retry_seconds
from api.auth import owner_of
from api.body import decoded, read_body
from api.cancellation import cancel, cancelling, delete
from api.compaction import compacted, summary_request
from api.context import CHORES, CREATION, DRAINING, FLEET, REDIS, SETTINGS, STREAMS
from api.errors import ApiError, response_not_found, server_error, shown
from api.follower import ResponseGone
from api.items import require_sealer
from api.middleware import BROKEN, RESPONSE_ID
from api.paging import page, read_page
from api.sse import wire_of
from api.streams import was_cut_off
from api.validation import check_supported, decode_body, decode_request
from shared.redis import event_log, records
from shared.redis.records import Idempotency
from shared.schema.items import shown_to_client
from shared.schema.request import CompactRequest, CreateResponse
from shared.schema.response import Response, ResponseError

MOST_EVENTS = 2**63 - 1  # so that the number after any other is one for clients and for Redis, too
CANCEL_SECONDS = 5.0  # how long a cancel waits for the worker to end the response

routes = web.RouteTableDef()


@routes.post("/v1/responses")
async def create_response(request: web.Request) -> web.StreamResponse:
    encoded = await read_body(request)
    body = await decoded(encoded, decode_request)
    check_supported(body)
    creation, streams = request.app[CREATION], request.app[STREAMS]
    wire_of(request.headers, request.app[SETTINGS])  # refused before anything is created
    draft = await creation.draft(body, owner_of(request))
    response = draft.record.response
    request[RESPONSE_ID] = response.id
    channel = streams.events_of(response.id) if body.stream else streams.end_of(response.id)
    async with channel as subscription, _attended(request, response):
        idempotency = _idempotency(request, encoded, response)
        while (earlier := await creation.create(draft, idempotency)) is not None:
            if answer := await _repeat(request, body, earlier):
                return answer
        if response.background and not body.stream:
            return _result(msgspec.json.encode(response))
        if body.stream:
            return await streams.send(request, response.id, subscription, first=draft.events)
        return _result(await _checked(request, await streams.result(response.id, subscription)))


@routes.post("/v1/responses/compact")
async def compact_response(request: web.Request) -> web.Response:
    body = await decoded(await read_body(request), partial(decode_body, _compact))
    creation, streams = request.app[CREATION], request.app[STREAMS]
    sealer = require_sealer(creation.sealer, None)
    draft = await creation.draft(summary_request(body), owner_of(request))
    response = draft.record.response
    async with streams.end_of(response.id) as subscription, _attended(request, response):
        await creation.create(draft)
        encoded = await _checked(request, await streams.result(response.id, subscription))
    record = draft.record
    owner = owner_of(request)
    earlier = await records.read_earlier(request.app[REDIS], record.ancestors, record.opening, owner, whole=True)
    summary = compacted(_decode_response(encoded), [*earlier, *record.input[:-1]], sealer, owner)
    return _result(msgspec.json.encode(summary))


@routes.get("/v1/responses/{id}")
async def retrieve_response(request: web.Request) -> web.StreamResponse:
    response_id = request.match_info["id"]
    encoded = await records.read_response(request.app[REDIS], response_id, owner_of(request))
    if encoded is None:
        raise response_not_found(response_id)
    if not _flag(request, "stream"):
        return _result(encoded)
    return await _stream(request, response_id, encoded, _starting_after(request))


@routes.delete("/v1/responses/{id}")
async def delete_response(request: web.Request) -> web.Response:
    response_id = request.match_info["id"]
    if not await delete(request.app[REDIS], request.app[SETTINGS], response_id, owner_of(request)):
        raise response_not_found(response_id)
    return web.json_response({"id": response_id, "object": "response", "deleted": True})


@routes.post("/v1/responses/{id}/cancel")
async def cancel_response(request: web.Request) -> web.Response:
    response_id = request.match_info["id"]
    redis, streams = request.app[REDIS], request.app[STREAMS]
    async with streams.end_of(response_id) as subscription:
        status = await cancel(redis, request.app[SETTINGS], response_id, owner_of(request))
        if status is None:
            raise response_not_found(response_id)
        try:
            return _result(await streams.result(response_id, subscription, timeout=CANCEL_SECONDS))
        except (ResponseGone, TimeoutError):
            encoded = await records.read_response(redis, response_id, owner_of(request))
    if encoded is None:
        raise response_not_found(response_id)
    return _result(encoded)


@routes.get("/v1/responses/{id}/input_items")
async def list_input_items(request: web.Request) -> web.Response:
    response_id = request.match_info["id"]
    wanted = read_page(request)
    items = await records.read_input(request.app[REDIS], response_id, owner_of(request))
    if items is None:
        raise response_not_found(response_id)
    return _result(msgspec.json.encode(page([shown_to_client(item) for item in items], wanted)))


@routes.post("/v1/responses/input_tokens")
async def count_input_tokens(request: web.Request) -> web.Response:
    body = await decoded(await read_body(request), decode_request)
    check_supported(body)
    tokens = await request.app[CREATION].count(body, owner_of(request))
    return web.json_response({"object": "response.input_tokens", "input_tokens": tokens})


async def _stream(request: web.Request, response_id: str, encoded: bytes, after: int) -> web.StreamResponse:
    """The events of a stored response: from its log, or made again when that has expired."""
    redis, streams = request.app[REDIS], request.app[STREAMS]
    async with streams.events_of(response_id) as subscription:
        if not await event_log.length(redis, response_id):
            ended, final = await records.read_end(redis, response_id)
            return await streams.send_rebuilt(request, final if ended and final else encoded, after)
        return await streams.send(request, response_id, subscription, after=after)


async def _repeat(request: web.Request, body: CreateResponse, response_id: str) -> web.StreamResponse | None:
    """The answer to a request that came before: the same response, not a second generation. None where it has none: it
    was deleted or, as its client had left, cancelled meanwhile, and its key is free."""
    encoded = await records.read_response(request.app[REDIS], response_id, owner_of(request))
    if encoded is None:
        return None
    if body.stream:
        return await _stream(request, response_id, encoded, -1)
    if body.background:
        return _result(encoded)
    streams = request.app[STREAMS]
    async with streams.end_of(response_id) as subscription:
        encoded = await _checked(request, await streams.result(response_id, subscription))
    return None if _decode_outcome(encoded).status == "cancelled" else _result(encoded)


@asynccontextmanager
async def _attended(request: web.Request, response: Response) -> AsyncIterator[None]:
    """While a response is created and a client waits: when it leaves, its generation is cancelled, unless that runs in
    the background; at the end nothing is left of an unstored response. What this front end itself cuts off when it is
    stopped goes on where it is stored: its client resumes it elsewhere."""
    redis, chores = request.app[REDIS], request.app[CHORES]
    cancelled = cancelling(redis, request.app[SETTINGS], response.id, owner_of(request))
    try:
        yield
    except ResponseGone:
        raise server_error(f"The response '{response.id}' was deleted before its end.") from None
    except ApiError:
        raise  # it was not created, or has ended
    except BaseException:
        goes_on = response.store and (was_cut_off(request) or request.app[DRAINING].cut)
        if not response.background and not goes_on:
            await chores.do(cancelled, "cancel")
        raise
    finally:
        if not response.store:
            if BROKEN in request:  # nobody can get what is left of it
                await chores.do(cancelled, "cancel")
            await chores.do(lambda: records.forget(redis, response.id), "forget")


def _idempotency(request: web.Request, body: bytes, response: Response) -> Idempotency | None:
    key = request.headers.get("Idempotency-Key")
    if not key:
        return None
    if not response.store:
        message = "An Idempotency-Key needs `store`: an unstored response cannot be given a second time."
        raise ApiError(400, message, param="store", code="invalid_value")
    ttl = request.app[SETTINGS].idempotency_ttl_seconds
    secret = request.app[SETTINGS].encryption_key.encode()  # a body may hold a server's secrets: none to be guessed at
    return Idempotency(key=key, digest=hmac.new(secret, body, hashlib.sha256).hexdigest(), ttl_seconds=ttl)


class _Outcome(msgspec.Struct):
    id: str
    model: str
    status: str
    error: ResponseError | None = None


_decode_outcome = msgspec.json.Decoder(_Outcome).decode
_decode_response = msgspec.json.Decoder(Response).decode
_compact = msgspec.json.Decoder(CompactRequest)


async def _checked(request: web.Request, encoded: bytes) -> bytes:
    """The response a client waited for. Raises ApiError where it failed: nothing else would tell it."""
    outcome = _decode_outcome(encoded)
    if outcome.error is None:
        return encoded
    message = f"{outcome.error.message} (response {outcome.id})"
    if outcome.error.code == "invalid_prompt":
        raise ApiError(400, message, param="input", code=outcome.error.code)
    if outcome.error.code == "rate_limit_exceeded":
        headers = {"Retry-After": str(await _retry_seconds(request, outcome.model))}
        raise ApiError(429, message, type="rate_limit_error", code=outcome.error.code, headers=headers)
    raise server_error(message)


async def _retry_seconds(request: web.Request, model: str) -> int:
    """As others are told that wait for a model; something else where nobody can know, as its workers have gone."""
    fleet = request.app[FLEET]
    try:
        return await retry_seconds(request.app[REDIS], fleet, (await fleet.resolve(model)).id)
    except (ApiError, RedisError):
        return RETRY_UNKNOWN_SECONDS


def _result(encoded: bytes) -> web.Response:
    return web.Response(body=encoded, content_type="application/json")


def _flag(request: web.Request, name: str) -> bool:
    value = request.query.get(name, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise ApiError(400, f"{name} is '{shown(value)}', expected true or false.", param=name, code="invalid_value")
    return value in ("true", "1")


def _starting_after(request: web.Request) -> int:
    value = request.query.get("starting_after", "-1")
    with suppress(ValueError):
        if (number := int(value)) < MOST_EVENTS:
            return max(number, -1)
    message = f"starting_after is '{shown(value)}', expected the sequence_number of an event."
    raise ApiError(400, message, param="starting_after", code="invalid_value")
