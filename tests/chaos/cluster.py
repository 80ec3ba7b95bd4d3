"""Webs, workers and a Redis as processes, each web and worker behind a proxy of its own on its way to Redis."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import aiohttp
from redis import Redis

from cli.child import command
from cli.embedded_redis import EmbeddedRedis
from cli.ports import free_port
from tests.chaos.engines import EACH, begun, held_by, noted
from tests.proxy import Proxy

READY_SECONDS = 60.0
STOP_SECONDS = 25.0  # what a process may take after SIGTERM
MODEL = "llamarelay/spark@q8_0"
SCRIPTED = "llamarelay/spark@f16"  # see `engines`

Role = Literal["web", "worker"]


class NotStopped(Exception):
    """A process was still there STOP_SECONDS after its SIGTERM, or ended with an error."""


class Member:
    """One web or worker. It keeps its name, its port and its way to Redis over restarts."""

    def __init__(self, role: Role, number: int, folder: Path, proxy: Proxy, environ: dict[str, str]) -> None:
        self.role = role
        self.name = f"{role}{number}"
        self.log = folder / f"{self.name}.log"
        self.notes = folder / f"{self.name}.notes"
        self.proxy = proxy
        self.port = free_port() if role == "web" else 0
        self._begins = 0  # where in the log this life of the process begins
        self.serving = False  # it has come up, since its last start
        self.paused = False
        self.partitioned = False
        self._environ = {**os.environ, **environ, "REDIS_URL": proxy.redis_url, "PORT": str(self.port)}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def well(self) -> bool:
        return self.alive and self.serving and not self.paused and not self.partitioned

    @property
    def running(self) -> set[str]:
        """The responses this worker generates."""
        return noted(self.notes)

    @property
    def begun(self) -> set[str]:
        """The responses this worker has generated since its start, or does."""
        return begun(self.notes)

    def hold(self, hold: bool = True, *, each: bool = False) -> None:
        """This worker's generations stop in the middle, with `each` also those it takes over, or go on; see
        `engines.Manners`."""
        file = held_by(self.notes)
        file.write_text(EACH if each else "") if hold else file.unlink(missing_ok=True)

    def start(self) -> None:
        arguments = ["-m", "cli.main", "web"] if self.role == "web" else ["-m", "tests.chaos.worker", str(self.notes)]
        self.notes.unlink(missing_ok=True)
        self.serving = False
        with self.log.open("ab") as log:
            self._begins = log.tell()
            self._process = subprocess.Popen(
                command([sys.executable, *arguments]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environ,
                start_new_session=True,
            )

    async def ready(self) -> None:
        """Returns when this web answers, or this worker has said that it takes jobs."""
        if self.role == "worker":
            await self.logged("worker_ready")
            self.serving = True
            return
        async with aiohttp.ClientSession() as http, asyncio.timeout(READY_SECONDS):
            while True:
                with suppress(aiohttp.ClientError, OSError):
                    async with http.get(self.url + "/healthz") as answer:
                        if answer.status == 200:
                            self.serving = True
                            return
                if not self.alive:
                    raise AssertionError(f"{self.name} ended:\n{self.tail()}")
                await asyncio.sleep(0.05)

    async def logged(self, words: str) -> None:
        """Returns when this life of the process has written `words` to its log."""
        async with asyncio.timeout(READY_SECONDS):
            while True:
                alive = self.alive  # before its log is read: its last words count
                if words in self.log.read_text(errors="replace")[self._begins :]:
                    return
                if not alive:
                    raise AssertionError(f"{self.name} ended:\n{self.tail()}")
                await asyncio.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        if number in (signal.SIGSTOP, signal.SIGCONT):
            self.paused = number == signal.SIGSTOP

    async def kill(self) -> None:
        """As a crash: no time for anything."""
        if self.alive:
            self.signal(signal.SIGKILL)
        await self._wait()

    async def stop(self) -> float:
        """SIGTERM; the seconds it took. Raises NotStopped."""
        began = time.monotonic()
        if self.alive:
            self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                status = await self._wait()
        except TimeoutError:
            raise NotStopped(f"{self.name} was there {STOP_SECONDS:g} s after SIGTERM:\n{self.tail()}") from None
        if status != 0:
            raise NotStopped(f"{self.name} ended with status {status}:\n{self.tail()}")
        return time.monotonic() - began

    def tail(self, size: int = 3000) -> str:
        return self.log.read_text(errors="replace")[-size:]

    async def _wait(self) -> int:
        assert self._process is not None
        while (status := self._process.poll()) is None:
            await asyncio.sleep(0.02)
        return status


class Cluster:
    """`async with Cluster(folder) as cluster`: everything runs inside, and is gone after."""

    def __init__(
        self, folder: Path, *, webs: int = 2, workers: int = 2, fsync: str = "everysec", **environ: str | float
    ) -> None:
        self.redis = EmbeddedRedis(folder / "redis", port=0)
        self.folder = folder
        self._environ = {
            "HOST": "127.0.0.1",
            "MODELS": f"{MODEL},{SCRIPTED}",
            "SLOTS": "16",
            "THREADS": "1",
            "LOG_FORMAT": "json",
            "DRAIN_SECONDS": "1",
            **{name: str(value) for name, value in environ.items()},
        }
        self._sizes: tuple[tuple[Role, int], ...] = (("web", webs), ("worker", workers))
        self._fsync = fsync
        self.webs: list[Member] = []
        self.workers: list[Member] = []

    @property
    def members(self) -> Sequence[Member]:
        return [*self.webs, *self.workers]

    async def __aenter__(self) -> Self:
        self.start_redis()
        for role, size in self._sizes:
            for _ in range(size):
                await self._add(role)
        try:
            await self.ready()
        except BaseException:
            await self.end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()

    def start_redis(self) -> None:
        """Starts the Redis, on the data it had. Blocks until it answers: it ends with the thread that starts it."""
        self.redis.start()
        with Redis.from_url(self.redis.url) as client:
            client.config_set("appendfsync", self._fsync)

    async def add_worker(self) -> Member:
        """One more worker, when it takes jobs."""
        member = await self._add("worker")
        await member.ready()
        return member

    async def _add(self, role: Role) -> Member:
        assert self.redis.port is not None
        peers = self.webs if role == "web" else self.workers
        proxy = await Proxy(self.redis.port).start()
        peers.append(Member(role, len(peers), self.folder, proxy, self._environ))
        peers[-1].start()
        return peers[-1]

    async def ready(self) -> None:
        """Returns when every web answers and sees every worker."""
        await asyncio.gather(*(member.ready() for member in self.members))
        for web in self.webs:
            await self.sees(web, len(self.workers))

    async def sees(self, web: Member, workers: int) -> None:
        """Returns when `web` knows of so many live workers."""
        async with aiohttp.ClientSession() as http, asyncio.timeout(READY_SECONDS):
            while True:
                with suppress(aiohttp.ClientError, OSError):
                    async with http.get(web.url + "/readyz") as answer:
                        if (await answer.json()).get("workers") == workers:
                            return
                await asyncio.sleep(0.05)

    async def end(self) -> None:
        for member in self.members:
            await member.kill()
            await member.proxy.stop()
        self.redis.stop()
