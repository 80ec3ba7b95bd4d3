"""arq's queues as both sides use them: msgpack instead of pickle, job id = response id, one queue for a model."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from arq.jobs import serialize_job
from arq.utils import timestamp_ms
from redis.asyncio import Redis

from shared.redis import keys, scripts

GENERATE = "generate"  # the arq function that runs a response
COUNT_TOKENS = "count_tokens"  # the arq function that measures a prompt
JOB_TTL_MS = 24 * 3600 * 1000
CLAIM_SCAN = 1000  # entries of a queue that one claim looks at

POP_SECONDS = 1.0  # one blocking pop: well below the time an answer of Redis may take

_encoder = msgspec.msgpack.Encoder()


def serialize(data: dict[str, Any]) -> bytes:
    """arq's job serializer: msgpack, so that nothing read from Redis can run code."""
    return _encoder.encode(data)


def deserialize(data: bytes) -> dict[str, Any]:
    """arq's job deserializer."""
    decoded: dict[str, Any] = msgspec.msgpack.decode(data)
    return decoded


def definition(function: str, *arguments: str | bytes) -> bytes:
    """arq's job definition."""
    return serialize_job(function, arguments, {}, None, timestamp_ms(), serializer=serialize)


async def enqueue(redis: Redis, model: str, job_id: str, function: str, *arguments: str | bytes) -> None:
    """Enqueues a job for a model and wakes one worker."""
    await scripts.ENQUEUE.call(
        redis,
        [keys.job(job_id), keys.queue(model), keys.wake(model)],
        [job_id, definition(function, *arguments), JOB_TTL_MS],
    )


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that is ours while we renew its lease."""

    job_id: str
    score: int  # milliseconds of Redis' clock when it was enqueued


async def claim(redis: Redis, model: str, token: str, wanted: int, lease_ms: int) -> list[Claim]:
    """Up to `wanted` waiting jobs of a model's queue, leased to `token`, oldest first."""
    found = await scripts.CLAIM.call(
        redis, [keys.queue(model)], [keys.LEASE_PREFIX, token, wanted, lease_ms, CLAIM_SCAN]
    )
    return [Claim(found[i].decode(), int(float(found[i + 1]))) for i in range(0, len(found), 2)]


async def pop(redis: Redis, names: list[str]) -> tuple[str, bytes] | None:
    """The first element of whichever list has one, and that list's name; None after a second."""
    popped = await cast(Awaitable[tuple[bytes, bytes] | None], redis.blpop(names, timeout=POP_SECONDS))  # type: ignore[arg-type]
    return (popped[0].decode(), popped[1]) if popped else None


LOST, HELD, CANCEL = 0, 1, 2
TORN = 3  # told by the outbox alone: Redis lost events that cannot be sent again


async def renew(redis: Redis, leases: dict[str, str], lease_ms: int) -> dict[str, int]:
    """Renews the leases (job id to token): LOST, HELD, or CANCEL (held, and somebody wants the response ended).

    One that lapsed while Redis was away is taken again, if nobody else has had it since.
    """
    names = [key for job_id in leases for key in (keys.lease(job_id), keys.response(job_id), keys.job(job_id))]
    answers = await scripts.RENEW.call(redis, names, [lease_ms, *leases.values()])
    return dict(zip(leases, answers, strict=True))


async def release(redis: Redis, model: str, job_id: str, token: str, *, done: bool) -> bool:
    """Takes a job out of its queue (`done`), or gives it back and wakes another worker; False: the lease was lost."""
    released: int = await scripts.RELEASE.call(
        redis,
        [keys.lease(job_id), keys.queue(model), keys.job(job_id), keys.retry(job_id), keys.wake(model)],
        [token, job_id, int(done)],
    )
    return released == 1
