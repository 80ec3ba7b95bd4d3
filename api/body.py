"""The body of a request, from the connection to what it says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from aiohttp import web

from api.apart import apart

T = TypeVar("T")


async def read_body(request: web.Request) -> bytes:
    """All of it. Raises web.HTTPRequestEntityTooLarge."""
    return await request.read()


async def decoded(body: bytes, decode: Callable[[bytes], T]) -> T:
    """What `decode` makes of a body, or raises; beside the event loop where the body is large."""
    return await apart(len(body), partial(decode, body))
