"""One run: a cluster, its clients, its faults, and what is left when all is quiet."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from redis.asyncio import Redis

from shared.redis import keys
from tests.chaos.client import Client
from tests.chaos.cluster import Cluster, NotStopped
from tests.chaos.faults import Fault, Faults
from tests.chaos.kinds import REDIS_FAULTS
from tests.chaos.scenarios import Tally, Visits
from tests.chaos.story import Story, Violation
from tests.chaos.tools import SETTINGS, Tools, tools_server

END_SECONDS = 120.0  # how long after the last fault everything has to have ended
IDLE_SECONDS = 15.0  # and how long until no job and no lease is left
SILENCE_SECONDS = 12.0
SLOW_STORIES = 20
LOG_LINES = 60  # of a violation's response


@dataclass(frozen=True, kw_only=True)
class Plan:
    seconds: float
    seed: int
    kinds: list[str]
    clients: int = 24
    webs: int = 2
    workers: int = 2
    every: float = 4.0
    lease: float = 5.0
    pace: float = 0.03


@dataclass
class Result:
    tally: Tally
    faults: list[Fault] = field(default_factory=list)
    tools: Tools | None = None
    violation: str | None = None
    seconds: float = 0.0


async def run(plan: Plan, folder: Path) -> Result:
    """Load and faults for the plan's time; the result tells of a broken promise, if there was one."""
    rng = random.Random(plan.seed)
    tally = Tally()
    result = Result(tally)
    fsync = "always" if set(plan.kinds) & set(REDIS_FAULTS) else "everysec"
    environ: dict[str, str | float] = {"LEASE_SECONDS": plan.lease, "PACE": plan.pace, **SETTINGS}
    async with (
        tools_server() as tools,
        Cluster(folder, webs=plan.webs, workers=plan.workers, fsync=fsync, **environ) as cluster,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            read_bufsize=1 << 22,
        ) as http,
    ):
        assert tools.proxy is not None
        chance = random.Random(rng.random())
        faults = Faults(cluster, tools.proxy, chance, tally, plan.kinds, every=plan.every, lease=plan.lease)
        result.faults = faults.done
        client = Client(http, cluster.webs, random.Random(rng.random()))
        visits = Visits(client, random.Random(rng.random()), tally, faults.since, tools)
        began = time.monotonic()
        try:
            await visits.learn()
            began = time.monotonic()
            await _under_fire(plan, visits, faults)
            await _quiet(cluster)
            tools.check(faults.since)
        except AssertionError as error:
            result.violation = _tell(error, cluster)
        except NotStopped as error:
            result.violation = str(error)
        except TimeoutError:
            result.violation = "Streams that never ended:\n" + "\n".join(_about(s, cluster) for s in tally.open)
        await faults.end()
        _note_slow(tally, folder)
        result.tools = tools
        result.seconds = time.monotonic() - began
        tally.resumed = client.resumed
    return result


async def _under_fire(plan: Plan, visits: Visits, faults: Faults) -> None:
    """Raises Violation, NotStopped, TimeoutError."""
    over = time.monotonic() + plan.seconds

    async def visit_again_and_again() -> None:
        while time.monotonic() < over:
            await visits.any()

    async def listen() -> None:
        """Asks the workers what they are doing when a stream has been silent for long; their logs tell."""
        asked: set[Story] = set()
        while time.monotonic() < over:
            await asyncio.sleep(1)
            long_ago = time.monotonic() - SILENCE_SECONDS
            silent = {s for s in visits.open if s.arrivals and s.arrivals[-1] < long_ago} - asked
            asked |= silent
            for story in silent:
                story.note("silent for long: where do the workers wait?")
            for worker in faults.workers if silent else ():
                worker.signal(signal.SIGUSR1)

    async def attack() -> None:
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + plan.seconds):
                await faults.run()
        except TimeoutError:
            await faults.settle()

    try:
        async with asyncio.timeout(plan.seconds + END_SECONDS), asyncio.TaskGroup() as group:
            group.create_task(attack())
            group.create_task(listen())
            for _ in range(plan.clients):
                group.create_task(visit_again_and_again())
    except* (AssertionError, NotStopped) as errors:
        raise _first(errors) from None


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _quiet(cluster: Cluster) -> None:
    """Nothing is left in the queues, nobody holds a lease, no key lives for ever. Raises Violation."""
    redis = Redis.from_url(cluster.redis.url)
    left: list[str] = []
    deadline = time.monotonic() + IDLE_SECONDS
    while time.monotonic() < deadline:
        left = []
        async for key in redis.scan_iter():
            name = key.decode()
            forever = await redis.ttl(key) == -1 and name not in (keys.WORKERS, keys.MODELS)
            # not `arq:retry:`: a worker that begins a job late, after another has ended it, counts its try for a day
            if forever or name.startswith(("lr:queue:", "arq:in-progress:", "arq:job:")):
                left.append(name)
        if not left:
            break
        await asyncio.sleep(0.2)
    await redis.aclose()
    if left:
        raise Violation(f"left in Redis when all is quiet: {sorted(left)[:20]}")


def _note_slow(tally: Tally, folder: Path) -> None:
    """Leaves the stories of the longest silences in a file: what to look at to make pauses shorter."""
    slow = sorted(tally.told, key=lambda story: story.longest_silence, reverse=True)[:SLOW_STORIES]
    lines = [f"{story.longest_silence[0]:.2f} s before event {story.longest_silence[1]}\n{story}" for story in slow]
    (folder / "slow.log").write_text("\n\n".join(lines))


def _tell(error: AssertionError, cluster: Cluster) -> str:
    story = error.story if isinstance(error, Violation) else None
    return f"{error}\n{_about(story, cluster)}" if story else str(error)


def _about(story: Story, cluster: Cluster) -> str:
    """A story, and what the processes' logs say of its response."""
    lines = [str(story)]
    for member in cluster.members:
        found = [
            line
            for line in member.log.read_text(errors="replace").splitlines()
            if story.response_id and story.response_id in line
        ]
        lines += [f"--- {member.name}", *found[-LOG_LINES:]]
    return "\n".join(lines)
