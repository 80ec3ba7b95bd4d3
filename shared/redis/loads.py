"""Which model files are being loaded, and which loads have ended their process: what a process cannot tell after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from redis.asyncio import Redis

from shared.redis import keys, scripts

TTL_MS = 7 * 24 * 3600 * 1000
LOADED = -1  # as a count: the file has been loaded, so that it takes a second loss to be refused

_LOADING, _LOST = "loading:", "lost:"


@dataclass(slots=True)
class Loads:
    """What is known of one file."""

    loading: dict[str, int] = field(default_factory=dict)  # by worker: ms since it last said that it loads the file
    lost: dict[str, int] = field(default_factory=dict)  # by host: loads in a row that ended their process, or LOADED


async def read(redis: Redis, files: Sequence[str]) -> list[Loads]:
    """What is known of each of `files`; whatever names a file and its version is good as its name."""
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.time()
        for file in files:
            pipeline.hgetall(keys.loads(file))
        now, *found = await pipeline.execute()
    return [_decode(_milliseconds(now), fields) for fields in found]


async def sign(redis: Redis, file: str, worker_id: str) -> None:
    """Says that a worker loads a file; to be said again and again."""
    now = _milliseconds(await redis.time())
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.hset(keys.loads(file), _LOADING + worker_id, str(now))
        pipeline.pexpire(keys.loads(file), TTL_MS)
        await pipeline.execute()


async def end(redis: Redis, file: str, worker_id: str, host: str, *, loaded: bool) -> None:
    """Says that a load has ended and its process has not. One that was `loaded` clears all that was counted."""
    key = keys.loads(file)
    counts = [name for name in await redis.hkeys(key) if name.startswith(_LOST.encode())] if loaded else []  # type: ignore[misc]
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.hdel(key, _LOADING + worker_id, *counts)
        if loaded:
            pipeline.hset(key, _LOST + host, str(LOADED))
            pipeline.pexpire(key, TTL_MS)
        await pipeline.execute()


async def count_lost(redis: Redis, file: str, workers: Iterable[tuple[str, str]]) -> None:
    """Counts the loads of `workers`, each with its host, as such that ended their process; each load once."""
    fields = [name for worker, host in workers for name in (_LOADING + worker, _LOST + host)]
    await scripts.LOST_LOADS.call(redis, [keys.loads(file)], [TTL_MS, *fields])


def _decode(now: int, fields: dict[bytes, bytes]) -> Loads:
    loads = Loads()
    for name, value in ((name.decode(), int(value)) for name, value in fields.items()):
        if name.startswith(_LOADING):
            loads.loading[name.removeprefix(_LOADING)] = now - value
        else:
            loads.lost[name.removeprefix(_LOST)] = value
    return loads


def _milliseconds(time: tuple[int, int]) -> int:
    """Redis' clock, as TIME tells it."""
    return time[0] * 1000 + time[1] // 1000
