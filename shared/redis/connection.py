"""How every process connects to Redis."""

from __future__ import annotations

from typing import Any

from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError

from shared.redis.queue import deserialize, serialize

LOST_CONNECTION = (ConnectionError, TimeoutError, BusyLoadingError, OSError)
"""What a Redis that is away or just starting looks like; a refused Unix socket is a bare OSError."""


def connect(url: str, **options: Any) -> ArqRedis:
    """A client with a pool of connections to `url` (redis://, rediss:// or unix://); nothing is sent yet.

    A command that meets a lost connection is tried again a few times: every script is written to bear that.
    """
    pool = ConnectionPool.from_url(
        url,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.01), 4, LOST_CONNECTION),  # type: ignore[arg-type]
        retry_on_error=list(LOST_CONNECTION),
        socket_connect_timeout=5,
        **options,
    )
    return ArqRedis(pool, job_serializer=serialize, job_deserializer=deserialize)
