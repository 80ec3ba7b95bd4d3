"""Errors as OpenAI's envelope: every answer that is not a success has this one form."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web
from redis.exceptions import RedisError

from shared.redis.outage import Outage, outage
from shared.schema.error import ErrorBody, ErrorDetail

SHOWN = 100  # characters of a value that an error repeats
LONGEST_MESSAGE = 2000
LONGEST_PARAM = 500


class ApiError(Exception):
    """A refusal. `param` is where (a path such as `input[0].content`), the message says what would be right."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        if param and len(param) > LONGEST_PARAM:
            param = None
        self.detail = ErrorDetail(message=shown(message, LONGEST_MESSAGE), type=type, param=param, code=code)
        self.headers = headers

    def response(self) -> web.Response:
        return web.Response(
            status=self.status,
            body=msgspec.json.encode(ErrorBody(error=self.detail)),
            content_type="application/json",
            headers=self.headers,
        )


def shown(value: str, longest: int = SHOWN) -> str:
    """A value as an error repeats it: its beginning, if it is long."""
    return value if len(value) <= longest else value[:longest] + "…"


def response_not_found(response_id: str) -> ApiError:
    return ApiError(404, f"Response with id '{shown(response_id)}' not found.", param="id", code="response_not_found")


def unavailable(message: str, *, code: str = "service_unavailable", retry_after: int = 2) -> ApiError:
    """Something that is missing for the moment; the client may try again after so many seconds."""
    return ApiError(503, message, type="server_error", code=code, headers={"Retry-After": str(retry_after)})


def without_redis(error: RedisError) -> ApiError:
    """What a client is told when Redis cannot serve it."""
    kind = outage(error) or "redis_unreachable"
    message, retry_after = _WITHOUT_REDIS[kind]
    return unavailable(message, code=kind, retry_after=retry_after)


_WITHOUT_REDIS: dict[Outage, tuple[str, int]] = {
    "redis_unreachable": ("The state store does not answer. Try again soon.", 2),
    "redis_full": ("The state store is full: nothing new is taken until there is room again.", 10),
    "redis_read_only": ("The state store takes no writes at the moment. Try again soon.", 2),
}


def server_error(message: str) -> ApiError:
    return ApiError(500, message, type="server_error", code="server_error")
