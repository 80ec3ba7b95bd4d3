"""The processes of `llamarelay up`: started in order, watched, stopped in order."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from cli.embedded_redis import EmbeddedRedis, EmbeddedRedisError
from cli.front import Front
from cli.logs import Output
from cli.supervisor import Child
from shared.api_keys import entry_of, new_key
from shared.cpu import shares, usable_cores
from shared.settings import Settings

REDIS_READY_SECONDS = 30.0
REDIS_STOP_SECONDS = 15.0
OUR_NAME = "llamarelay.up"  # of the key that `up` makes for itself, good for this run
BEYOND_DRAIN_SECONDS = 10.0  # a process that drains for its DRAIN_SECONDS is given this much more to end


class Stack:
    """Redis (unless one is named), one web process and the workers, as children of this process."""

    def __init__(self, settings: Settings, data_dir: Path, *, workers: int, embed_redis: bool) -> None:
        self._started = time.monotonic()
        self._console = Console(highlight=False)
        self._data_dir = data_dir
        self._redis = EmbeddedRedis(data_dir / "redis") if embed_redis else None
        if self._redis:
            settings = replace(settings, redis_url=self._redis.url)
        if settings.log_format == "auto":  # the children write into our pipe and cannot see the terminal
            settings = replace(settings, log_format="console" if self._console.is_terminal else "json")
        key = None
        if settings.api_keys:  # we have only their hashes, and a question to ask
            key = new_key()
            settings = replace(settings, api_keys=(*settings.api_keys, entry_of(OUR_NAME, key)))
        self._settings = settings
        self._worker_names = [f"worker {number}" for number in range(1, workers + 1)]
        self._cores = shares(settings.cores or usable_cores(), workers)
        self._output = Output(self._console, data_dir / "logs", ["up", "redis", "web", *self._worker_names])
        self._front = Front(settings.host, settings.port, key)
        self._children: list[Child] = []
        self._gave_up = asyncio.Event()
        self._say = self._output.of("up")
        self._redis_speaks = False

    async def run(self) -> int:
        """Runs until a signal (returns 0) or until something cannot go on (returns 1)."""
        stop_asked = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                asyncio.get_running_loop().add_signal_handler(number, self._signalled, number, stop_asked)
        starting = asyncio.create_task(self._start())
        ends = [asyncio.create_task(event.wait()) for event in (stop_asked, self._gave_up)]
        try:
            await asyncio.wait([starting, *ends], return_when=asyncio.FIRST_COMPLETED)
            if starting.done() and (error := starting.exception()):
                self._say(f"error: {error}")
                return 1
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return 1 if self._gave_up.is_set() else 0
        finally:
            starting.cancel()
            await asyncio.wait([starting])
            await self._stop()
            for end in ends:
                end.cancel()
            self._output.close()

    def _signalled(self, number: signal.Signals, stop_asked: asyncio.Event) -> None:
        if not stop_asked.is_set():
            self._say("stopping; once more to kill" if number is signal.SIGINT else "stopping")
            stop_asked.set()
            return
        self._say("killing")
        for child in self._children:
            child.kill()

    def _child_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._say(f"error: {error}")
            self._gave_up.set()

    async def _start(self) -> None:
        """Starts everything and returns when it answers. Raises EmbeddedRedisError."""
        if self._redis:
            await self._start_redis(self._redis)
        await self._add("web", self._program("web"))
        for name, cores in zip(self._worker_names, self._cores, strict=True):
            await self._add(name, self._program("worker"), settings=replace(self._settings, cores=cores))
        with self._console.status("starting") as status:

            def show(waiting: str) -> None:
                status.update(f"waiting for {waiting}")
                if not self._console.is_terminal:
                    self._say(f"waiting for {waiting}")

            await self._front.wait_until_ready(show)
        await self._announce()

    async def _start_redis(self, redis: EmbeddedRedis) -> None:
        redis.prepare()
        # its first lines are a banner and advice for servers; later ones matter if they are warnings, marked with #
        child = await self._add("redis", redis.command, lambda line: self._redis_speaks and " # " in line)
        pid = child.pid
        if pid is None:
            raise EmbeddedRedisError("redis-server ended while it was starting:\n" + "\n".join(child.tail))
        try:
            await asyncio.to_thread(redis.wait_until_ready, pid, lambda: child.pid == pid, REDIS_READY_SECONDS)
        except EmbeddedRedisError as error:
            raise EmbeddedRedisError(f"{error}. Its last lines:\n" + "\n".join(child.tail)) from None
        self._redis_speaks = True

    async def _add(
        self,
        name: str,
        command: Sequence[str],
        shown: Callable[[str], bool] | None = None,
        settings: Settings | None = None,
    ) -> Child:
        settings = settings or self._settings
        child = Child(
            name,
            command,
            environment={**os.environ, **settings.to_environment(), "PYTHONUNBUFFERED": "1"},
            output=self._output.of(name, shown),
            report=self._say,
        )
        self._children.append(child)
        task = await child.start()
        task.add_done_callback(self._child_done)
        return child

    def _program(self, command: str) -> list[str]:
        return [sys.executable, "-P", "-m", "cli.main", command]  # -P: a folder `cli` where we are is not ours

    async def _announce(self) -> None:
        models = await self._front.models()
        default = self._settings.default_model
        example = default if default in models or not models else models[0]
        print_line = self._console.print
        print_line(f"\n[bold green]llamarelay is ready[/] at [bold]{self._front.url}[/]", end="")
        print_line(f"  (after {time.monotonic() - self._started:.1f} s)", style="dim")
        print_line("  models  " + ", ".join(models), markup=False, soft_wrap=True)
        print_line(f"  data    {self._data_dir}", markup=False, soft_wrap=True)
        print_line("  try     " + self._front.curl(example), markup=False, soft_wrap=True)
        print_line("Ctrl-C stops it.\n")

    async def _stop(self) -> None:
        """The web process first, which still needs the workers to finish its answers, and Redis last."""
        self._redis_speaks = False
        drain = self._settings.drain_seconds + BEYOND_DRAIN_SECONDS
        by_name = {child.name: child for child in self._children}
        redis, web = by_name.pop("redis", None), by_name.pop("web", None)
        if web:
            await web.stop(drain)
        await asyncio.gather(*(worker.stop(drain) for worker in by_name.values()))
        if redis:
            await redis.stop(REDIS_STOP_SECONDS)
        self._say("stopped")
