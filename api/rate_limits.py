"""How many requests a key may make in a minute: counted in Redis, so that all front ends count together.

What is counted is what makes something: POST requests but cancellations, and every frame of a WebSocket as it comes.
Reading and deleting are free. The headers are those of OpenAI (https://platform.openai.com/docs/guides/rate-limits).
"""

from __future__ import annotations

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from redis.asyncio import Redis

from api.auth import KEY
from api.context import REDIS
from api.errors import ApiError
from shared.api_keys import Key
from shared.redis import rates
from shared.redis.rates import Rate
from shared.schema.ids import new_id

_RATE = web.RequestKey("RATE", Rate)


@web.middleware
async def count_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses with 429 what is too much."""
    cancels = request.path.endswith("/cancel")
    if request.method == hdrs.METH_POST and not cancels and KEY in request:
        rate = await count(request.app[REDIS], request[KEY])
        if rate is not None:
            request[_RATE] = rate
    return await handler(request)


async def add_rate_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Called when the headers of any answer are about to leave."""
    if _RATE in request:
        response.headers.update(headers_of(request[_RATE]))


async def count(redis: Redis, key: Key) -> Rate | None:
    """Counts a request; None for a key without that limit. Raises ApiError."""
    if key.rpm is None:
        return None
    rate = await rates.take(redis, key.name, new_id("req"), key.rpm)
    if rate.wait_ms is not None:
        raise _too_many(rate)
    return rate


def headers_of(rate: Rate) -> dict[str, str]:
    """What a client is told of its rate."""
    return {
        "x-ratelimit-limit-requests": str(rate.limit),
        "x-ratelimit-remaining-requests": str(rate.remaining),
        "x-ratelimit-reset-requests": _duration(rate.reset_ms),
    }


def _too_many(rate: Rate) -> ApiError:
    wait_ms = rate.wait_ms or 0
    seconds = -(-wait_ms // 1000)
    message = f"This key may make {rate.limit} requests in a minute, and has. Try again in {seconds} s."
    headers = {"Retry-After": str(seconds), "retry-after-ms": str(wait_ms), **headers_of(rate)}
    return ApiError(429, message, type="rate_limit_error", code="rate_limit_exceeded", headers=headers)


def _duration(milliseconds: int) -> str:
    """As OpenAI writes it: 850ms, 12s, 1m0s."""
    seconds = -(-milliseconds // 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    return f"{seconds}s" if seconds < 60 else f"{seconds // 60}m{seconds % 60}s"
