"""The arq Worker subclass: woken when a job is enqueued, holding short leases, draining before it stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import structlog
from arq.connections import ArqRedis
from arq.worker import Retry, Worker, func
from redis.exceptions import RedisError

from shared.redis import queue
from shared.redis.outage import outage
from workers.attempt import Stuck
from workers.generate import LeaseLost, NotHere
from workers.lease import Leases
from workers.pace import Pace
from workers.suspects import Suspects

log = structlog.get_logger()

TRIES = 1000  # for arq: `workers.attempt` counts the tries of a response and ends it itself
CLAIM_SECONDS = 2.0  # how long a worker that stops waits for a claim that is on its way
EXTRA_SECONDS = 60  # arq's time limit is only the net behind our own
HAND_OVER_SECONDS = 2.5  # for the jobs that a stopped worker gives back: sending what was said, and the release
GIVE_UP_SECONDS = 0.5
SETTLE_SECONDS = 1.0  # after an outage: whoever still runs a job renews its lease in this time

_token: ContextVar[str] = ContextVar("token")  # of the lease under which this run of a job was begun


class QueueWorker(Worker):
    """Runs the jobs of one queue, which is called as its model, or `keys.counts` of that.

    Those of a process share one connection pool, one set of leases, one place for a suspect and one event loop.
    """

    def __init__(
        self,
        model: str,
        redis: ArqRedis,
        leases: Leases,
        suspects: Suspects,
        functions: dict[str, Callable[..., Awaitable[None]]],
        *,
        slots: int,
        most_aside: int,
        poll_seconds: float,
        job_timeout_seconds: float,
        on_room: Callable[[], None],
    ) -> None:
        """`most_aside`: jobs that take no slot while they wait for something outside; more of them do. `on_room` is
        called when it has looked for jobs and has room for more."""
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
        self._most_aside = most_aside
        self._redis = redis
        self._on_room = on_room
        self._leases = leases
        self._suspects = suspects
        self._woken = asyncio.Event()
        self._polling = asyncio.Lock()  # held while jobs are claimed, and for good by `drain`
        self._left: set[str] = set()  # jobs that are left to their lease
        self.pace = Pace()
        self.paused = False  # the model cannot be loaded here, and another worker has it

    @property
    def running(self) -> int:
        return len(self.tasks)

    @property
    def has_room(self) -> bool:
        return self.allow_pick_jobs and not self.paused and self._free > 0

    @property
    def _free(self) -> int:
        """Slots for more jobs."""
        return self.max_jobs - len(self.tasks) + self.aside

    @property
    def aside(self) -> int:
        """Jobs that take no slot, because they wait for something outside."""
        return min(sum(map(self._leases.is_aside, self.tasks)), self._most_aside)

    def wake(self) -> None:
        """Looks for jobs now instead of at the next poll."""
        self._woken.set()

    async def main(self) -> None:
        """Takes jobs until it is cancelled."""
        self.ctx["redis"] = self._redis
        away = False
        while True:
            self._woken.clear()
            try:
                if away:  # leases have lapsed meanwhile: those who hold them come first
                    await self._redis.ping()
                    away = False
                    await asyncio.sleep(SETTLE_SECONDS)
                await self._poll_iteration()
            except (RedisError, OSError) as error:
                log.warning("no_jobs_taken", outage=outage(error), error=str(error))
                away = True
            with suppress(TimeoutError):
                async with asyncio.timeout(self.poll_delay_s):
                    await self._woken.wait()

    async def drain(self, seconds: float) -> None:
        """Takes no more jobs, gives those that run `seconds` to end and the rest back to the queue.

        What cannot be given back soon, because Redis is away, is left to its lease. A claim that is waited for, because
        nobody else can have the jobs it brings, takes its time from the same `seconds`.
        """
        began = time.monotonic()
        self.allow_pick_jobs = False
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._polling.acquire(), CLAIM_SECONDS)
        if self.tasks:
            await asyncio.wait(list(self.tasks.values()), timeout=max(began + seconds - time.monotonic(), 0))
        await self._hand_over()
        self._reap()
        if self.tasks:
            log.error("jobs_left_behind", jobs=sorted(self.tasks))

    async def _hand_over(self) -> None:
        """Stops every job; one that has just been claimed begins a little later and is stopped then."""
        stopped: set[str] = set()
        deadline = time.monotonic() + HAND_OVER_SECONDS
        while (left := self._unfinished()) and time.monotonic() < deadline:
            for job_id in self.job_tasks.keys() - stopped:
                self.job_tasks[job_id].cancel()
                stopped.add(job_id)
            await asyncio.wait(left, timeout=0.05)
        for task in self.job_tasks.values():  # a second time: what ended just then may wait for Redis
            task.cancel()
        if left := self._unfinished():
            await asyncio.wait(left, timeout=GIVE_UP_SECONDS)

    def _unfinished(self) -> list[asyncio.Task[Any]]:
        return [task for task in self.tasks.values() if not task.done()]

    async def _poll_iteration(self) -> None:
        async with self._polling:
            self._reap()
            if self.has_room:
                await self._claim()
            if self.has_room:
                self._on_room()

    async def _claim(self) -> None:
        token = self._leases.new_token()
        with self._suspects.claiming() as suspects:
            claims = await queue.claim(
                self._redis,
                self.model,
                token,
                self._free,
                self._leases.milliseconds,
                suspects=suspects,
                running=self.tasks,
            )
            if claims.suspects_left:
                self._suspects.wait(self.wake)
            for claim in claims:
                self._leases.add(claim.job_id, token)
                if claim.suspect:
                    self._suspects.begin(claim.job_id, token)
                task = asyncio.create_task(self._run(claim, token, self.tasks.get(claim.job_id)))
                task.add_done_callback(lambda _: self.wake())
                self.tasks[claim.job_id] = task

    async def _run(self, claim: queue.Claim, token: str, before: asyncio.Task[Any] | None) -> None:
        """Runs a job under a lease, when `before` has ended: our own earlier run of it, which has lost its lease."""
        _token.set(token)
        try:
            if before is not None:
                await asyncio.wait([before])
            if self.allow_pick_jobs:
                await self.run_job(claim.job_id, claim.score)
            else:
                await self._release(claim.job_id, done=False)
        finally:
            self._leases.remove(claim.job_id, token)
            self._suspects.clear(claim.job_id, token)

    def _reap(self) -> None:
        for job_id, task in list(self.tasks.items()):
            if task.done():
                del self.tasks[job_id]
                if not task.cancelled() and (error := task.exception()):
                    log.error("job_broke", job_id=job_id, exc_info=error)

    async def finish_job(self, job_id: str, finish: bool, *_: Any) -> None:
        """arq's end of a job, fenced: only the holder of the lease takes it out of the queue or gives it back."""
        await self._release(job_id, done=finish)

    async def finish_failed_job(self, job_id: str, result_data: bytes | None) -> None:
        await self._release(job_id, done=True)

    async def _release(self, job_id: str, *, done: bool) -> None:
        token = _token.get()
        await self._leases.give_up(job_id, token)
        if job_id in self._left:
            self._left.discard(job_id)
            return
        try:
            await queue.release(self._redis, self.model, job_id, token, done=done)
        except RedisError as error:  # the lease lapses by itself; a response that has ended took its job with it
            log.warning("job_not_released", job_id=job_id, outage=outage(error), error=str(error))

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
                self._left.add(job_id)  # a renewal may have taken it again since, and the response has not ended
            except Stuck:
                log.error("job_left_to_its_lease", job_id=job_id, job_try=ctx["job_try"])
                self._left.add(job_id)
            except NotHere:
                log.warning("job_given_back", job_id=job_id)
                raise Retry from None
            except (RedisError, OSError) as error:
                if outage(error) is None:
                    raise
                log.warning("job_given_back", job_id=job_id, error=str(error))
                raise Retry from error
            finally:
                if measured:
                    self.pace.end(job_id, done=done)

        return run
