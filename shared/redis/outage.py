"""A Redis that cannot serve for a while: gone, just starting, full, or a replica; and how to wait that out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

import structlog
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

T = TypeVar("T")
Outage = Literal["redis_unreachable", "redis_full", "redis_read_only"]

log = structlog.get_logger()

RETRY_SECONDS = 0.05  # the first pause of who waits; each is twice the one before
LONGEST_RETRY_SECONDS = 0.5

_REASON = re.compile(
    r"\b(?:(?P<full>OOM)|(?P<read_only>READONLY|MISCONF|NOREPLICAS)"
    r"|(?P<away>LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|UNBLOCKED))\b"
)
"""Redis' error codes; an error inside a script is an ERR that quotes them."""


def outage(error: BaseException) -> Outage | None:
    """What kind of outage an error of Redis is; None where trying again later would not help."""
    match error:
        case AuthenticationError() | AuthorizationError():
            return None
        case OutOfMemoryError():
            return "redis_full"
        case ReadOnlyError() | ReadOnlyConnection():
            return "redis_read_only"
        case ConnectionError() | TimeoutError() | BusyLoadingError() | OSError():
            return "redis_unreachable"
        case ResponseError():
            found = _REASON.search(str(error))
            if found is None:
                return None
            return "redis_full" if found["full"] else "redis_read_only" if found["read_only"] else "redis_unreachable"
    return None


class ReadOnlyConnection(ConnectionError):
    """The server of this connection is a replica now: the next connection may find the new master."""


def is_read_only(error: ResponseError) -> bool:
    """Whether a reply says that this server is a replica (and not only that it has trouble with its disk)."""
    return isinstance(error, ReadOnlyError) or "READONLY" in str(error)


async def patiently(call: Callable[[], Awaitable[T]], what: str) -> T:
    """What `call` returns, once Redis serves again. Whoever must not wait for good cancels it.

    `call` is made again and again, so it must bear to be done twice, as all scripts here do. Other errors are raised.
    """
    pause = RETRY_SECONDS
    while True:
        try:
            return await call()
        except (RedisError, OSError) as error:
            kind = outage(error)
            if kind is None:
                raise
            if pause == RETRY_SECONDS:
                log.warning(kind, waiting=what, error=str(error))
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_RETRY_SECONDS)
