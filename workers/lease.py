"""Leases: a job is ours while we renew arq's in-progress key in time. One call renews them all."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.redis import queue

log = structlog.get_logger()


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

    def on_abort(self, job_id: str, abort: Callable[[int], None]) -> None:
        """`abort(queue.LOST)` or `abort(queue.CANCEL)` is called at most once for each renewal."""
        self._aborts[job_id] = abort

    def remove(self, job_id: str) -> None:
        self._tokens.pop(job_id, None)
        self._aborts.pop(job_id, None)

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
        self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(min(self._seconds / 3, 0.7))  # also how soon a cancel is seen while nothing is sent
            if self._tokens:
                await self._renew()

    async def _renew(self) -> None:
        try:
            outcomes = await queue.renew(self._redis, dict(self._tokens), self.milliseconds)
        except RedisError as error:
            log.warning("lease_not_renewed", error=str(error), jobs=len(self._tokens))
            return
        for job_id, outcome in outcomes.items():
            if outcome != queue.HELD and (abort := self._aborts.get(job_id)):
                abort(outcome)


def _nothing() -> None:
    """Nobody waits for room."""
