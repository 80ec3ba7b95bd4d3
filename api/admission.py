"""Whether one more job is let in: by how many wait, and by how long it would have to, measured."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import Redis

from api.errors import ApiError
from api.fleet import Fleet
from shared.redis import keys, queue
from shared.redis.queue import JOB_TTL_MS, Refused, Terms
from shared.settings import Settings

RETRY_UNKNOWN_SECONDS = 5  # where nothing is known of how long jobs take
RETRY_LONGEST_SECONDS = 3600


class Admission:
    """On what terms requests come into the queues of their models."""

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        self._fleet = fleet
        self._settings = settings

    def terms(self, model: str, owner: str, *, share: int = 0, background: bool = False) -> Terms:
        """The terms of a job, which Redis holds it to in the step that enqueues it."""
        settings, capacity = self._settings, self._fleet.capacity(model)
        timeout = settings.background_queue_timeout_seconds if background else settings.queue_timeout_seconds
        timeout_ms = int(timeout * 1000)
        return Terms(
            owner=owner,
            share=share,
            timeout_ms=timeout_ms,
            ttl_ms=max(JOB_TTL_MS, timeout_ms + int(2 * settings.job_timeout_seconds * 1000)),
            max_queue=settings.max_queue,
            max_wait_ms=timeout_ms if background else int(settings.max_wait_seconds * 1000),
            slots=capacity.slots,
            interval_ms=capacity.interval * 1000,
            job_ms=capacity.seconds * 1000,
        )

    def count_terms(self, owner: str, seconds: float) -> Terms:
        """The terms of a token count, which waits for no slot, and which nobody runs after so many seconds."""
        milliseconds = int(seconds * 1000)
        return Terms(
            owner=keys.asker(owner), timeout_ms=milliseconds, ttl_ms=milliseconds, max_queue=self._settings.max_queue
        )


async def retry_seconds(redis: Redis, fleet: Fleet, model: str) -> int:
    """The seconds until one more request of a model would be begun, as things stand, behind all that wait."""
    capacity = fleet.capacity(model)
    waiting, claimed = await queue.busy(redis, model)
    ahead = max(waiting + 1 - max(capacity.slots - claimed, 0), 0)
    seconds = math.ceil(ahead * capacity.interval) or RETRY_UNKNOWN_SECONDS
    return min(seconds, RETRY_LONGEST_SECONDS)


@contextmanager
def overload(model: str) -> Iterator[None]:
    """Turns what the queue refuses into ApiError: 429 with the time after which a place is to be expected."""
    try:
        yield
    except Refused as refused:
        seconds = math.ceil(refused.retry_ms / 1000) or RETRY_UNKNOWN_SECONDS
        retry = min(seconds, RETRY_LONGEST_SECONDS)
        if refused.reason == "queue":
            reason = f"{refused.waiting} requests wait for the model '{model}' already, which is as many as may."
        else:
            wait = math.ceil(refused.wait_ms / 1000)
            reason = f"{refused.waiting} requests wait for the model '{model}': this one would wait for about {wait} s."
        raise ApiError(
            429,
            f"{reason} Try again in {retry} s.",
            type="rate_limit_error",
            code="overloaded",
            headers={"Retry-After": str(retry)},
        ) from None
