"""What is done to the processes: one fault at a time and role, drawn by chance, each remembered with what it hit."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.chaos.cluster import Cluster, Member
from tests.chaos.scenarios import Tally
from tests.chaos.story import Story
from tests.proxy import Proxy


@dataclass
class Fault:
    kind: str
    target: str
    at: float
    hit: list[Story] = field(default_factory=list)
    over: float = 0.0  # when what was done was over: a process gone, or going on

    def pauses(self) -> list[float]:
        """How long each stream it hit was silent."""
        return [pause for story in self.hit if (pause := story.pause_in(self.at, self.over)) is not None]


class Faults:
    """Does one thing after the other to a cluster, as the seed says."""

    def __init__(
        self,
        cluster: Cluster,
        tools: Proxy,
        rng: random.Random,
        tally: Tally,
        kinds: list[str],
        *,
        every: float,
        lease: float,
    ) -> None:
        self._cluster = cluster
        self._tools = tools
        self._rng = rng
        self._tally = tally
        self._kinds = kinds
        self._every = every
        self._lease = lease
        self._under_way: set[asyncio.Task[None]] = set()
        self._redis_away = False
        self.done: list[Fault] = []

    @property
    def workers(self) -> list[Member]:
        """Those that are well."""
        return [worker for worker in self._cluster.workers if worker.well]

    def since(self, moment: float, kinds: Collection[str]) -> int:
        """How many faults of these kinds have not been over at `moment`."""
        return sum((fault.over or moment) >= moment and fault.kind in kinds for fault in self.done)

    async def run(self) -> None:
        """Until it is cancelled. Raises what a fault raises, such as NotStopped."""
        while True:
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * self._every)
            self._raise()
            self._next()

    async def end(self) -> None:
        """Leaves everything as it is."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def settle(self) -> None:
        """Waits until everything that was done is undone. Raises what a fault raises."""
        await asyncio.gather(*self._under_way)

    def _next(self) -> None:
        if not self._kinds:
            return
        kind = self._rng.choice(self._kinds)
        how, target = self._plan(kind)
        length = self._rng.uniform(0.3, 2.0)
        if how is not None:
            self._under_way.add(asyncio.create_task(how(kind, target, length)))

    def _plan(self, kind: str) -> tuple[Callable[[str, Member, float], Awaitable[None]] | None, Member]:
        """What to do, and to whom; nothing where that would leave no other process of its kind."""
        role = kind.split()[0]
        if role == "redis":
            return (None if self._redis_away else self._restart_redis), self._cluster.members[0]
        if role == "tools":
            return self._hang_tools, self._cluster.members[0]
        peers = {"web": self._cluster.webs, "worker": self._cluster.workers}.get(role)
        peers = peers or self._rng.choice([self._cluster.webs, self._cluster.workers])
        well = [member for member in peers if member.well]
        target = self._rng.choice(peers)
        if len(well) < 2 or target not in well:
            return None, target
        doing = {"kill": self._kill, "SIGTERM": self._stop, "SIGSTOP": self._pause}
        return doing.get(kind.split()[-1] if "-9" not in kind else "kill", self._partition), target

    def _raise(self) -> None:
        for task in [task for task in self._under_way if task.done()]:
            self._under_way.discard(task)
            task.result()

    def _note(self, kind: str, target: Member) -> Fault:
        running = target.running if target.role == "worker" else set()
        hit = [
            story
            for story in self._tally.open
            if story.streaming and (story.response_id in running or story.web == target.name)
        ]
        return self._done(kind, target.name, hit)

    def _done(self, kind: str, target: str, hit: list[Story]) -> Fault:
        for story in hit:
            story.note(f"{kind} of {target}")
        self.done.append(Fault(kind, target, time.monotonic(), hit))
        with (self._cluster.folder / "faults.log").open("a") as log:
            log.write(f"{datetime.now(UTC).isoformat()} {kind} of {target}: {len(hit)} streams\n")
        return self.done[-1]

    async def _kill(self, kind: str, target: Member, length: float) -> None:
        fault = self._note(kind, target)
        await target.kill()
        fault.over = time.monotonic()
        await asyncio.sleep(length)
        target.start()
        await self._back(target)

    async def _stop(self, kind: str, target: Member, length: float) -> None:
        fault = self._note(kind, target)
        await target.stop()
        fault.over = time.monotonic()
        await asyncio.sleep(length)
        target.start()
        await self._back(target)

    async def _pause(self, kind: str, target: Member, length: float) -> None:
        fault = self._note(kind, target)
        target.signal(signal.SIGSTOP)
        await asyncio.sleep(self._lease + length)
        target.signal(signal.SIGCONT)
        fault.over = time.monotonic()

    async def _restart_redis(self, kind: str, target: Member, length: float) -> None:
        self._redis_away = True
        hit = [story for story in self._tally.open if story.streaming]
        fault = self._done(kind, "redis", hit)
        try:
            if kind == "redis kill -9":
                self._cluster.redis.kill()
            else:
                self._cluster.redis.stop()
            await asyncio.sleep(length)
            self._cluster.start_redis()
            fault.over = time.monotonic()
        finally:
            self._redis_away = False

    async def _hang_tools(self, kind: str, target: Member, length: float) -> None:
        fault = self._done(kind, "tools", [story for story in self._tally.open if story.streaming and story.remote])
        self._tools.hang()
        await asyncio.sleep(3 * length)
        self._tools.heal()
        fault.over = time.monotonic()

    async def _partition(self, kind: str, target: Member, length: float) -> None:
        fault = self._note(f"{target.role} {kind}", target)
        target.partitioned = True
        try:
            if kind == "cut":
                target.proxy.cut()
            elif kind == "half-open":
                target.proxy.hang()
            else:
                target.proxy.delay(self._rng.uniform(0.05, 0.5))
            await asyncio.sleep(5 * length)
            target.proxy.heal(drop=self._rng.random() < 0.5)
            fault.over = time.monotonic()
        finally:
            target.partitioned = False

    async def _back(self, target: Member) -> None:
        """Not well again before it serves."""
        await target.ready()
