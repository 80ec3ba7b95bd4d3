"""What is measured: a real Redis, `llamarelay web` and `llamarelay worker` as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.child import CHECKOUT
from cli.child import command
from cli.embedded_redis import EmbeddedRedis
from cli.ports import free_port
from shared.settings import Settings

START_SECONDS = 120.0


class Stack:
    """One of each, on a free port and a fresh data folder. The settings are the defaults, but for `changes`."""

    def __init__(self, *, worker: bool = True, **changes: Any) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="llamarelay-bench-")
        folder = Path(self._folder.name)
        self.redis = EmbeddedRedis(folder / "redis")
        self.settings = replace(
            Settings(),
            redis_url=self.redis.url,
            host="127.0.0.1",
            port=free_port(),
            log_level="warning",
            log_format="json",
            **changes,
        )
        self._log = (folder / "log").open("w+b")
        self._names = ["web", "worker"] if worker else ["web"]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """Where responses are created."""
        return f"http://127.0.0.1:{self.settings.port}/v1/responses"

    @property
    def pids(self) -> dict[str, int]:
        redis = self.redis.pid
        return {name: process.pid for name, process in self.processes.items()} | ({"redis": redis} if redis else {})

    def __enter__(self) -> Self:
        self.redis.start()
        for name in self._names:
            self.processes[name] = subprocess.Popen(
                command([sys.executable, "-m", "cli.main", name]),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                cwd=CHECKOUT,
                env={**os.environ, **self.settings.to_environment()},
            )
        try:
            self._wait("/readyz" if "worker" in self._names else "/healthz")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.redis.stop()
        self._log.close()
        self._folder.cleanup()

    def _wait(self, path: str) -> None:
        """Returns when the path answers 200. Raises RuntimeError with the end of the log."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.settings.port}{path}", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                if any(process.poll() is not None for process in self.processes.values()):
                    break
            time.sleep(0.05)
        self._log.seek(0)
        raise RuntimeError("the processes did not start:\n" + self._log.read().decode(errors="replace")[-3000:])
