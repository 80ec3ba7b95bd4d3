"""What every request passes: an id, and the envelope around everything that goes wrong."""

from __future__ import annotations

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from redis.exceptions import RedisError

from api.errors import ApiError, server_error, unavailable
from shared.schema.ids import new_id

log = structlog.get_logger()

REQUEST_ID = web.RequestKey("REQUEST_ID", str)


@web.middleware
async def request_id(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request an id, which is in every log line about it and on the answer."""
    request[REQUEST_ID] = new_id("req")
    with structlog.contextvars.bound_contextvars(request_id=request[REQUEST_ID]):
        return await handler(request)


async def add_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Called when the headers of any answer are about to leave."""
    if REQUEST_ID in request:
        response.headers["X-Request-Id"] = request[REQUEST_ID]


@web.middleware
async def envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every failure into OpenAI's error envelope."""
    try:
        return await handler(request)
    except ApiError as error:
        return error.response()
    except web.HTTPException as error:
        return _from_http(request, error).response()
    except RedisError as error:
        log.error("redis_failed", path=request.path, error=str(error))
        return unavailable("The state store does not answer.", code="redis_unreachable").response()
    except ConnectionResetError:
        raise  # the client has left
    except Exception:
        log.exception("request_failed", path=request.path)
        return server_error("The server met an unexpected error.").response()


def _from_http(request: web.Request, error: web.HTTPException) -> ApiError:
    if error.status == 404:
        return ApiError(404, f"Unknown path: {request.method} {request.path}.", code="unknown_url")
    if error.status == 405:
        allowed = error.headers.get("Allow", "")
        message = f"{request.method} is not allowed for {request.path}. Allowed: {allowed}."
        return ApiError(405, message, code="method_not_allowed", headers={"Allow": allowed})
    if error.status == 413:
        return ApiError(413, "The body is larger than this server allows.", code="body_too_large")
    return ApiError(error.status, error.reason or "The request failed.")
