"""What is no HTTP request, or one whose head is too large, gets OpenAI's envelope too, and no stack in the log."""

from __future__ import annotations

import structlog
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.web_protocol import RequestHandler

from api.errors import ApiError

log = structlog.get_logger()

_aiohttps = RequestHandler.handle_error


def install() -> None:
    """For all applications of this process: aiohttp answers such requests before any application sees them."""
    RequestHandler.handle_error = _answer  # type: ignore[method-assign, assignment]


def _answer(
    protocol: RequestHandler,
    request: web.BaseRequest,
    status: int = 500,
    exc: BaseException | None = None,
    message: str | None = None,
) -> web.StreamResponse:
    if not isinstance(exc, BadHttpMessage) or request.writer.output_size:
        return _aiohttps(protocol, request, status, exc, message)
    log.debug("unreadable_request", reason=type(exc).__name__)  # not more: the reason repeats headers, keys among them
    answer = _refusal(exc).response()
    answer.force_close()
    return answer


def _refusal(error: BadHttpMessage) -> ApiError:
    if isinstance(error, LineTooLong) or "Too many headers" in error.message:
        message = "The request line or the headers are larger than this server allows."
        return ApiError(431, message, code="headers_too_large")
    return ApiError(400, "This is not a request that can be read as HTTP.", code="invalid_http")
