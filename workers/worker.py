"""The arq Worker subclass: woken when a job is enqueued, holding short leases, draining before it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog
from arq.connections import ArqRedis
from arq.worker import Worker, func
from redis.exceptions import ConnectionError, TimeoutError

from shared.redis import queue
from workers.generate import LeaseLost
from workers.lease import Leases
from workers.pace import Pace

log = structlog.get_logger()

TRIES = 1000  # for arq: `workers.generate` counts the tries of a response and ends it itself
EXTRA_SECONDS = 60  # arq's time limit is only the net behind our own


class QueueWorker(Worker):
    """Runs the jobs of one model's queue. Several share one connection pool, one set of leases and one event loop."""

    def __init__(
        self,
        model: str,
        redis: ArqRedis,
        leases: Leases,
        functions: dict[str, Callable[..., Awaitable[None]]],
        *,
        slots: int,
        poll_seconds: float,
        job_timeout_seconds: float,
    ) -> None:
        super().__init__(
            [func(self._adapt(name, function), name=name) for name, function in functions.items()],  # type: ignore[arg-type]
            queue_name="lr:arq",  # arq's own bookkeeping; jobs come from `shared.redis.queue`
            redis_pool=redis,
            handle_signals=False,
            max_jobs=slots,
            job_timeout=job_timeout_seconds + EXTRA_SECONDS,
            keep_result=0,
            max_tries=TRIES,
            poll_delay=poll_seconds,
            job_serializer=queue.serialize,
            job_deserializer=queue.deserialize,
            log_results=False,
        )
        self.model = model
        self._redis = redis
        self._leases = leases
        self._woken = asyncio.Event()
        self.pace = Pace()

    @property
    def running(self) -> int:
        return len(self.tasks)

    @property
    def has_room(self) -> bool:
        return self.allow_pick_jobs and self._free > 0

    @property
    def _free(self) -> int:
        """Slots for more jobs: one that waits for a remote tool takes none."""
        return self.max_jobs - len(self.tasks) + self.aside

    @property
    def aside(self) -> int:
        """Jobs that wait for something outside."""
        return sum(map(self._leases.is_aside, self.tasks))

    def wake(self) -> None:
        """Looks for jobs now instead of at the next poll."""
        self._woken.set()

    async def main(self) -> None:
        """Takes jobs until it is cancelled."""
        self.ctx["redis"] = self._redis
        while True:
            self._woken.clear()
            try:
                await self._poll_iteration()
            except (ConnectionError, TimeoutError) as error:
                log.warning("redis_unreachable", error=str(error))
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self.poll_delay_s)

    async def drain(self, seconds: float) -> None:
        """Takes no more jobs, gives those that run `seconds` to end and the rest back to the queue."""
        self.allow_pick_jobs = False
        if self.tasks:
            await asyncio.wait(list(self.tasks.values()), timeout=seconds)
        for task in self.job_tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    async def _poll_iteration(self) -> None:
        self._reap()
        if not self.has_room:
            return
        token = self._leases.new_token()
        for claim in await queue.claim(self._redis, self.model, token, self._free, self._leases.milliseconds):
            self._leases.add(claim.job_id, token)
            task = asyncio.create_task(self.run_job(claim.job_id, claim.score))
            task.add_done_callback(lambda _: self.wake())
            self.tasks[claim.job_id] = task

    def _reap(self) -> None:
        for job_id, task in list(self.tasks.items()):
            if task.done():
                del self.tasks[job_id]
                self._leases.remove(job_id)
                if not task.cancelled() and (error := task.exception()):
                    log.error("job_broke", job_id=job_id, exc_info=error)

    async def finish_job(self, job_id: str, finish: bool, *_: Any) -> None:
        """arq's end of a job, fenced: only the holder of the lease takes it out of the queue or gives it back."""
        await self._release(job_id, done=finish)

    async def finish_failed_job(self, job_id: str, result_data: bytes | None) -> None:
        await self._release(job_id, done=True)

    async def _release(self, job_id: str, *, done: bool) -> None:
        await queue.release(self._redis, self.model, job_id, self._leases.token(job_id), done=done)

    def _adapt(self, name: str, function: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def run(ctx: dict[str, Any], *arguments: Any) -> None:
            job_id, done, measured = ctx["job_id"], False, name == queue.GENERATE
            if measured:
                self.pace.begin(job_id)
            try:
                await function(*arguments, job_try=ctx["job_try"])
                done = True
            except LeaseLost:
                log.warning("lease_lost", job_id=job_id)
            finally:
                if measured:
                    self.pace.end(job_id, done=done)

        return run
