"""The body of a request, from the connection to what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from aiohttp import web

from api.apart import apart
from api.context import SETTINGS
from api.errors import ApiError

T = TypeVar("T")

LEAST_RATE = 4096  # bytes a second over all of a body: a modem's; who sends less only holds the connection


async def read_body(request: web.Request) -> bytes:
    """All of it. Raises web.HTTPRequestEntityTooLarge, ApiError where it does not come."""
    settings = request.app[SETTINGS]
    loop = asyncio.get_running_loop()
    begun, body = loop.time(), bytearray()
    while True:
        try:
            async with asyncio.timeout_at(deadline(loop.time() - begun, len(body), settings.receive_seconds, begun)):
                piece = await request.content.readany()
        except TimeoutError:
            raise _too_slow(request) from None
        if not piece:
            return bytes(body)
        body += piece
        if len(body) > settings.max_body_bytes:
            raise web.HTTPRequestEntityTooLarge(settings.max_body_bytes, len(body))


def deadline(passed: float, received: int, patience: float, begun: float = 0.0) -> float | None:
    """Until when the next piece of a body has to come, `passed` seconds after `begun` and with `received` bytes there;
    None: whenever it likes. What came fast is no credit for a silence."""
    return begun + patience + min(passed, received / LEAST_RATE) if patience else None


async def decoded(body: bytes, decode: Callable[[bytes], T]) -> T:
    """What `decode` makes of a body, or raises; beside the event loop where the body is large."""
    return await apart(len(body), partial(decode, body))


def _too_slow(request: web.Request) -> ApiError:
    """Nothing more is read of this connection, which ends with the answer."""
    request.protocol.close()
    request.content.feed_eof()  # else aiohttp would wait for the rest all the same
    return ApiError(408, "The body of the request did not arrive in time.", code="request_timeout")
