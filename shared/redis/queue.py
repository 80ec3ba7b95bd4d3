"""arq's queues as both sides use them: msgpack instead of pickle, job id = response id, one queue for a model."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import msgspec
from arq.jobs import serialize_job
from arq.utils import timestamp_ms
from msgspec import Struct
from redis.asyncio import Redis

from shared.redis import keys, scripts

GENERATE = "generate"  # the arq function that runs a response
COUNT_TOKENS = "count_tokens"  # the arq function that measures a prompt
JOB_TTL_MS = 24 * 3600 * 1000
SUSPECT_LOSSES = 2  # a job that this many workers were lost with may be what they were lost for
SET_BACKS = 10  # times in a response's life that its progress makes its losses forgotten

WAKE_SECONDS = 60  # as the scripts say it
POP_SECONDS = 1.0  # one blocking pop: well below the time an answer of Redis may take

_encoder = msgspec.msgpack.Encoder()
encode_terms = msgspec.json.Encoder().encode


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


class Terms(Struct, kw_only=True):
    """On what terms a job comes into a queue: whose it is, and when it is refused or given up."""

    owner: str
    share: int = 0  # jobs of this owner that may run at once, on all models; 0: as many as there are slots
    timeout_ms: int = 600_000  # how long it may wait for a worker
    ttl_ms: int = JOB_TTL_MS  # how long its definition is kept
    # it is refused ...
    max_queue: int = 0  # ... where so many jobs wait and the owner has its part of them; 0: never
    max_wait_ms: int = 0  # ... where it would wait longer than that; 0: never
    # ... by what is known of the model's workers:
    slots: int = 0  # jobs they run at once, together
    interval_ms: float = 0.0  # from the end of one job to the end of the next while all slots are taken; 0: unknown
    job_ms: float = 0.0  # how long one job takes


class Refused(Exception):
    """Nothing was written: too much is waiting."""

    def __init__(self, reason: Literal["queue", "wait"], waiting: int, wait_ms: int, retry_ms: int) -> None:
        super().__init__(f"{waiting} jobs wait")
        self.reason = reason  # the queue is full, or the wait too long
        self.waiting = waiting  # jobs of this model
        self.wait_ms = wait_ms  # how long the job would have waited; 0: unknown
        self.retry_ms = retry_ms  # how long until it would not be refused; 0: unknown

    @classmethod
    def of(cls, outcome: Sequence[Any]) -> Refused:
        """From what a script returned behind its code."""
        reason, waiting, wait_ms, retry_ms = outcome
        return cls("queue" if reason == b"queue" else "wait", waiting, wait_ms, retry_ms)


def names(model: str, job_id: str, owner: str) -> list[str]:
    """The keys of a queue as the scripts take them that bring a job into it."""
    return [
        keys.job(job_id),
        keys.queue(model),
        keys.wake(model),
        keys.claimed(model),
        keys.owners(model),
        keys.lane(model, owner),
        keys.SHARES,
        keys.DEADLINES,
    ]


async def enqueue(redis: Redis, model: str, job_id: str, terms: Terms, function: str, *arguments: str | bytes) -> None:
    """Enqueues a job for a model and wakes one worker. Raises Refused."""
    outcome = await scripts.ENQUEUE.call(
        redis,
        names(model, job_id, terms.owner),
        [job_id, definition(function, *arguments), encode_terms(terms)],
    )
    if outcome[0]:
        raise Refused.of(outcome[1:])


async def withdraw(redis: Redis, model: str, job_id: str, owner: str) -> int:
    """Takes a job out of its queue for which nobody waits any more; returns how many workers were lost with it."""
    lost: int = await scripts.WITHDRAW.call(
        redis, [*names(model, job_id, owner), keys.lease(job_id), keys.retry(job_id)], [job_id, owner]
    )
    return lost


async def busy(redis: Redis, model: str) -> tuple[int, int]:
    """How many jobs of a model's queue wait, and how many were claimed."""
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.zcard(keys.queue(model))
        pipeline.hlen(keys.claimed(model))
        there, claimed = await pipeline.execute()
    return max(there - claimed, 0), claimed


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that is ours while we renew its lease."""

    job_id: str
    score: int  # milliseconds of Redis' clock when it was enqueued
    suspect: bool  # SUSPECT_LOSSES workers were lost with it, without progress


class Claims(list[Claim]):
    """What a claim has brought."""

    suspects_left = 0  # passed over: there were as many as were wanted


async def claim(
    redis: Redis,
    model: str,
    token: str,
    wanted: int,
    lease_ms: int,
    *,
    suspects: int = 1,
    running: Iterable[str] = (),
) -> Claims:
    """Up to `wanted` jobs of a model's queue, leased to `token`: what lost workers left, then fairly by owner.

    A `token` is good for one call: one that is repeated with it brings the same jobs again.
    Up to `suspects` of them are suspects: one that ends its worker takes all down that run beside it. Those that are
    `running` here are left alone: where their leases have lapsed, in an outage, they are renewed.
    """
    found = await scripts.CLAIM.call(
        redis,
        [keys.queue(model), keys.claimed(model), keys.owners(model), keys.SHARES, keys.DEADLINES],
        [
            keys.LEASE_PREFIX,
            keys.lane(model, ""),
            keys.HELD_PREFIX,
            token,
            wanted,
            lease_ms,
            2 * JOB_TTL_MS,
            keys.JOB_PREFIX,
            keys.RESPONSE_PREFIX,
            keys.RETRY_PREFIX,
            suspects,
            SUSPECT_LOSSES,
            *running,
        ],
    )
    claims = Claims(
        Claim(found[i].decode(), int(float(found[i + 1])), found[i + 2] == 1) for i in range(1, len(found), 3)
    )
    claims.suspects_left = found[0]
    return claims


async def set_back(redis: Redis, job_id: str, token: str) -> bool:
    """Forgets that workers were lost with a response that goes on now, SET_BACKS times at most; whether it did."""
    done: int = await scripts.SET_BACK.call(
        redis,
        [keys.lease(job_id), keys.response(job_id), keys.job(job_id), keys.retry(job_id)],
        [token, SET_BACKS],
    )
    return done == 1


async def remember_tries(redis: Redis, job_id: str, tries: int) -> None:
    """Takes a `set_back` back: the response goes on, but cannot be ended."""
    await redis.set(keys.retry(job_id), tries, xx=True, keepttl=True)


@dataclass(frozen=True, slots=True)
class Overdue:
    """A job that has passed the time it may wait for a worker."""

    entry: str
    job_id: str
    model: str
    lost: bool  # it was begun, and nobody went on with it


async def overdue(redis: Redis, most: int) -> list[Overdue]:
    """Up to `most` such jobs of all queues; each is to be given to `expire`."""
    found = await scripts.OVERDUE.call(redis, [keys.DEADLINES], [most])
    jobs = []
    for entry in found:
        job_id, queue, *lost = entry.decode().split("\n")
        jobs.append(Overdue(entry.decode(), job_id, queue.removeprefix(keys.QUEUE_PREFIX), bool(lost)))
    return jobs


async def expire(redis: Redis, job: Overdue, token: str, lease_ms: int, again_ms: int) -> bool:
    """Whether the job is leased to `token` now, whose holder has to end it. If not it has ended, or runs: then it is
    overdue again after `again_ms`."""
    taken: int = await scripts.EXPIRE.call(
        redis,
        [keys.DEADLINES, keys.lease(job.job_id), keys.queue(job.model), keys.claimed(job.model)],
        [job.entry, keys.deadline(job.job_id, job.model), job.job_id, token, lease_ms, again_ms],
    )
    return taken == 1


async def pop(redis: Redis, names: list[str]) -> tuple[str, bytes] | None:
    """The first element of whichever list has one, and that list's name; None after a second."""
    popped = await cast(Awaitable[tuple[bytes, bytes] | None], redis.blpop(names, timeout=POP_SECONDS))  # type: ignore[arg-type]
    return (popped[0].decode(), popped[1]) if popped else None


async def pass_on(redis: Redis, model: str, job_id: bytes) -> None:
    """Leaves a wake-up to another process."""
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.lpush(keys.wake(model), job_id)
        pipeline.expire(keys.wake(model), WAKE_SECONDS)
        await pipeline.execute()


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
    """Takes a job out of its queue (`done`), or gives it back and wakes another worker; False: the lease is not
    held, which is also what a repeated call finds."""
    released: int = await scripts.RELEASE.call(
        redis,
        [
            keys.lease(job_id),
            keys.queue(model),
            keys.job(job_id),
            keys.retry(job_id),
            keys.wake(model),
            keys.claimed(model),
            keys.DEADLINES,
        ],
        [token, job_id, int(done)],
    )
    return released == 1
