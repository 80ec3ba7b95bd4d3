"""Marks in Redis around each load of a model file. A load that ends its process (an assertion of llama.cpp, the kernel
where memory ran out) leaves its mark behind, and that is how the next process knows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.redis import loads
from shared.redis.outage import outage, patiently

log = structlog.get_logger()

STALE = 2 / 3  # of a lease: whoever takes a lost worker's job over finds that worker's mark stale
RENEWALS = 4  # in the time after which a mark is stale
END_SECONDS = 0.5  # a mark is removed behind a load's back where Redis takes longer
ELSEWHERE = (
    2  # losses of other hosts count as no more: this one may have more memory, or be one of them under a new name
)

_ours: set[str] = set()  # the workers of this process


@dataclass(frozen=True, slots=True)
class Past:
    """What has become of the loads of a file."""

    lost: int  # so many in a row have ended their process; below 0: it has been loaded
    tried: bool  # somebody else is loading it just now


class LoadMarks:
    """The marks of one worker, whose id is HOST:PROCESS:ANYTHING."""

    def __init__(self, redis: Redis, worker_id: str, lease_seconds: float) -> None:
        self._redis = redis
        self._id = worker_id
        self._host, self._process, _ = worker_id.rsplit(":", 2)
        self._stale_seconds = STALE * lease_seconds
        self._ending: set[asyncio.Task[None]] = set()
        _ours.add(worker_id)

    async def past(self, files: Sequence[str]) -> list[Past]:
        """What has become of the loads of each of `files`; loads whose process is gone are counted first. With Redis
        away nothing is known."""
        try:
            known = await loads.read(self._redis, files)
            lost = {
                file: gone
                for file, found in zip(files, known, strict=True)
                if (gone := [worker for worker, age in found.loading.items() if self._is_gone(worker, age)])
            }
            for file, workers in lost.items():
                await loads.count_lost(self._redis, file, [(worker, _host(worker)) for worker in workers])
            if lost:
                known = await loads.read(self._redis, files)
        except (RedisError, OSError) as error:
            log.warning("loads_unknown", outage=outage(error), error=str(error))
            return [Past(0, False)] * len(files)
        return [Past(self._count(found.lost), bool(found.loading.keys() - {self._id})) for found in known]

    @asynccontextmanager
    async def loading(self, file: str) -> AsyncIterator[None]:
        """Marks that `file` is being loaded. Whatever this raises, the process has survived it."""
        await self._sign(file)
        renewing, loaded = asyncio.create_task(self._keep(file)), False
        try:
            yield
            loaded = True
        finally:
            end = asyncio.create_task(self._end(file, renewing, loaded))
            self._ending.add(end)
            end.add_done_callback(self._ending.discard)
            await asyncio.wait([end], timeout=END_SECONDS)

    async def close(self) -> None:
        """What Redis has not taken by now it is not told any more."""
        for end in self._ending:
            end.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        _ours.discard(self._id)

    def _is_gone(self, worker: str, age_ms: int) -> bool:
        if worker in _ours:
            return False
        if age_ms > 1000 * self._stale_seconds:
            return True
        host, process, _ = worker.rsplit(":", 2)
        if host != self._host:
            return False
        if process == self._process:  # before a container's restart, or beside us in another one of the same host name
            return age_ms > 1500 * self._stale_seconds / RENEWALS
        return not _runs(int(process))

    def _count(self, lost: dict[str, int]) -> int:
        """How many losses matter here: this host's own, where it has any story. Elsewhere too it takes a second loss
        where the file has been loaded before."""
        if self._host in lost:
            return lost[self._host]
        losses = sum(count for count in lost.values() if count > 0)
        if not losses:
            return min(lost.values(), default=0)
        return min(losses - (loads.LOADED in lost.values()), ELSEWHERE)

    async def _sign(self, file: str) -> None:
        try:
            await loads.sign(self._redis, file, self._id)
        except (RedisError, OSError) as error:
            log.warning("load_not_marked", outage=outage(error), error=str(error))

    async def _keep(self, file: str) -> None:
        while True:
            await asyncio.sleep(self._stale_seconds / RENEWALS)
            await self._sign(file)

    async def _end(self, file: str, renewing: asyncio.Task[None], loaded: bool) -> None:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        try:
            await patiently(lambda: loads.end(self._redis, file, self._id, self._host, loaded=loaded), "end of a load")
        except (RedisError, OSError) as error:
            log.warning("load_not_unmarked", error=str(error))


def _host(worker: str) -> str:
    return worker.rsplit(":", 2)[0]


def _runs(process: int) -> bool:
    """Whether this host has a process of that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
