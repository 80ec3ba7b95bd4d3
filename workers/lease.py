"""Leases: a job is ours while we renew arq's in-progress key in time. One call renews them all."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.enduring import enduring
from shared.redis import queue

log = structlog.get_logger()

RENEWAL_SECONDS = 0.7  # at most, which is also how soon a cancel is seen while nothing is sent


class Leases:
    """The jobs this process holds. A lost lease or a wish to cancel is told to the job through its `abort`."""

    def __init__(self, redis: Redis, seconds: float) -> None:
        self._redis = redis
        self._seconds = seconds
        self._tokens: dict[str, str] = {}
        self._aborts: dict[str, Callable[[int], None]] = {}
        self._aside: set[str] = set()
        self.on_room: Callable[[], None] = _nothing  # called when a job was set aside
        self._task: asyncio.Task[None] | None = None
        self._renewing = asyncio.Lock()

    @property
    def milliseconds(self) -> int:
        return int(self._seconds * 1000)

    def new_token(self) -> str:
        """A token for the next claim; whoever knows it may write."""
        return secrets.token_hex(8)

    def token(self, job_id: str) -> str:
        """The token of a job we hold. Raises KeyError."""
        return self._tokens[job_id]

    def add(self, job_id: str, token: str) -> None:
        self._tokens[job_id] = token
        self._aborts.pop(job_id, None)

    def on_abort(self, job_id: str, abort: Callable[[int], None]) -> None:
        """`abort(queue.LOST)` or `abort(queue.CANCEL)` is called at most once for each renewal."""
        self._aborts[job_id] = abort

    def remove(self, job_id: str, token: str) -> None:
        """Renews this lease no more; one that the job has got since stays."""
        if self._tokens.get(job_id) == token:
            del self._tokens[job_id]
            self._aborts.pop(job_id, None)

    async def give_up(self, job_id: str, token: str) -> None:
        """As `remove`; when it returns no renewal is on its way either, which could take a released lease again."""
        self.remove(job_id, token)
        async with self._renewing:
            pass

    @contextmanager
    def aside(self, job_id: str) -> Iterator[None]:
        """While it waits for something outside, a job is held but takes no slot."""
        self._aside.add(job_id)
        self.on_room()
        try:
            yield
        finally:
            self._aside.discard(job_id)

    def is_aside(self, job_id: str) -> bool:
        return job_id in self._aside

    def start(self) -> None:
        self._task = asyncio.create_task(enduring(self._keep, "leases"))

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(min(self._seconds / 3, RENEWAL_SECONDS))
            if self._tokens:
                await self._renew()

    async def _renew(self) -> None:
        async with self._renewing:
            tokens = dict(self._tokens)
            try:
                outcomes = await queue.renew(self._redis, tokens, self.milliseconds)
            except (RedisError, OSError) as error:
                log.warning("lease_not_renewed", error=str(error), jobs=len(tokens))
                return
        for job_id, outcome in outcomes.items():
            if outcome != queue.HELD and self._tokens.get(job_id) == tokens[job_id] and job_id in self._aborts:
                self._aborts[job_id](outcome)


def _nothing() -> None:
    """Nobody waits for room."""
