"""What every request passes: an id, and the envelope around everything that goes wrong."""

from __future__ import annotations

import re
import time

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from redis.exceptions import RedisError

from api.errors import ApiError, server_error, shown, without_redis
from shared.schema.ids import new_id

log = structlog.get_logger()

REQUEST_ID = web.RequestKey("REQUEST_ID", str)


RESPONSE_ID = web.RequestKey("RESPONSE_ID", str)
"""The response a request has made, for the log: workers' lines name it, and know no requests."""

DELIVERED = web.RequestKey("DELIVERED", bool)
"""Set when all of a streamed answer has been sent: a client that leaves then, without waiting for more, was served."""

BROKEN = web.RequestKey("BROKEN", bool)
"""Set when an answer had begun and could not come to its end because of an error of this server."""

STARTED = web.RequestKey("STARTED", bool)
"""Set when the headers of an answer are about to leave: nothing else can be answered from then on."""

PROBES = frozenset({"/healthz", "/readyz"})  # asked for all the time
REQUEST_TIMEOUT = 408
CLIENT_LEFT = 499  # as nginx logs it
SERVER_ERROR = 500
_SANE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_LOGGED_PATH = 200  # characters


@web.middleware
async def request_id(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request an id, which is on the answer and in every log line about it, next to the client's own."""
    started = time.monotonic()
    request[REQUEST_ID] = new_id("req")
    ids = {"request_id": request[REQUEST_ID]}
    if theirs := _client_id(request):
        ids["client_request_id"] = theirs
    with structlog.contextvars.bound_contextvars(**ids):
        status = None
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            if BROKEN in request:
                status = SERVER_ERROR
            elif status is None:
                status = 200 if DELIVERED in request else CLIENT_LEFT
            write = log.debug if request.path in PROBES else log.info
            write(
                "request",
                method=request.method,
                path=_path(request),
                status=status,
                seconds=round(time.monotonic() - started, 4),
                **({"response_id": request[RESPONSE_ID]} if RESPONSE_ID in request else {}),
            )


def _client_id(request: web.Request) -> str | None:
    """The id the client gave its request, if it may be logged: printable, without spaces, not long."""
    theirs = request.headers.get("X-Client-Request-Id") or request.headers.get("X-Request-Id") or ""
    return theirs if _SANE_ID.fullmatch(theirs) else None


def _path(request: web.Request) -> str:
    """The path as it came, percent-encoded and without the query: nothing in it can forge a log line."""
    return request.rel_url.raw_path[:_LOGGED_PATH]


async def add_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Called when the headers of any answer are about to leave."""
    if REQUEST_ID in request:
        response.headers["X-Request-Id"] = request[REQUEST_ID]


async def note_start(request: web.Request, response: web.StreamResponse) -> None:
    """Called when the headers of any answer are about to leave."""
    request[STARTED] = True


@web.middleware
async def envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every failure into OpenAI's error envelope. One that comes after the headers breaks the connection off: in
    the middle of an answer an envelope would be taken for a part of it."""
    try:
        return await handler(request)
    except ConnectionResetError:
        raise  # the client has left
    except Exception as error:
        if STARTED in request:
            log.exception("answer_broken_off", path=_path(request))
            request[BROKEN] = True
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("The answer was broken off.") from error
        return _answer(request, error)


def _answer(request: web.Request, error: Exception) -> web.Response:
    match error:
        case ApiError():
            answer = error.response()
            if error.status == REQUEST_TIMEOUT:
                answer.force_close()  # what is left of its body may come yet
            return answer
        case web.HTTPException():
            return _from_http(request, error).response()
        case RedisError():
            log.error("redis_failed", path=_path(request), error=str(error))
            return without_redis(error).response()
        case web.RequestPayloadError():  # a wrong Content-Encoding, chunks that are none
            answer = ApiError(400, f"The body cannot be read: {_cause(error)}.", code="invalid_body").response()
            answer.force_close()  # nobody knows where the next request begins
            return answer
    log.error("request_failed", path=_path(request), exc_info=error)
    return server_error("The server met an unexpected error.").response()


def _cause(error: BaseException) -> str:
    """The innermost reason in one line: aiohttp wraps it in others that say nothing."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return shown(" ".join(str(error).split()).rstrip(".")) or type(error).__name__


def _from_http(request: web.Request, error: web.HTTPException) -> ApiError:
    if error.status == 404:
        return ApiError(404, f"Unknown path: {request.method} {shown(request.path)}.", code="unknown_url")
    if error.status == 405:
        allowed = error.headers.get("Allow", "")
        message = f"{request.method} is not allowed for {shown(request.path)}. Allowed: {allowed}."
        return ApiError(405, message, code="method_not_allowed", headers={"Allow": allowed})
    if error.status == 413:
        return ApiError(413, "The body is larger than this server allows.", code="body_too_large")
    return ApiError(error.status, error.reason or "The request failed.")
