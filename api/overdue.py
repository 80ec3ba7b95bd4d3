"""The queue time-out: a job that no worker took in time ends as failed, for whoever waits for it and in whatever way.

Every front end looks; which of them ends a job is decided in Redis, whose clock alone counts. Workers are not needed.
"""

from __future__ import annotations

import asyncio
import secrets

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.ending import LEASE_MS, end
from api.fleet import Fleet
from shared.emitter import Emitter
from shared.redis import queue
from shared.redis.queue import Overdue
from shared.settings import Settings

log = structlog.get_logger()

LOOK_SECONDS = 1.0
AT_ONCE = 100  # jobs ended in one go


class OverdueJobs:
    """Looks for jobs that have waited for too long, and ends them."""

    def __init__(self, redis: Redis, fleet: Fleet, settings: Settings) -> None:
        self._redis = redis
        self._fleet = fleet
        self._settings = settings
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def look(self) -> int:
        """Ends those there are, up to AT_ONCE; returns how many were overdue."""
        found = await queue.overdue(self._redis, AT_ONCE)
        for job in found:
            token = secrets.token_hex(8)
            again = int(self._settings.queue_timeout_seconds * 1000)
            if await queue.expire(self._redis, job, token, LEASE_MS, again):
                await self._end(job, token)
        return len(found)

    async def _end(self, job: Overdue, token: str) -> None:
        def fail(emitter: Emitter) -> None:
            if job.lost:
                emitter.fail("server_error", "The worker of this response was lost, and no other one took it over.")
            elif self._fleet.capacity(job.model).slots:
                message = f"The model '{job.model}' was too busy to begin this response in time. Try again later."
                emitter.fail("rate_limit_exceeded", message)
            else:
                emitter.fail("server_error", f"No worker of the model '{job.model}' took this response in time.")

        ended = await end(self._redis, self._settings, job.job_id, token, fail)
        if ended:
            log.warning("queue_timeout", response_id=job.job_id, model=job.model)
        else:  # no response: a token count that nobody waits for any more, or a record that is gone
            await queue.release(self._redis, job.model, job.job_id, token, done=True)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                while await self.look() == AT_ONCE:
                    pass
            except RedisError as error:
                log.warning("queue_unreadable", error=str(error))
            except Exception:
                log.exception("queue_timeout_failed")
