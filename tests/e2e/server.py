"""`llamarelay up` and its parts as a user runs them: real processes, the demo model, a free port."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from openai import AsyncOpenAI, OpenAI

from cli.ports import free_port

START_SECONDS = 60.0
MODEL = "llamarelay/spark"


class Process:
    """A `llamarelay` command in its own process group, ended by its id; or another `module` with its arguments."""

    def __init__(
        self, *arguments: str, log: Path, environ: dict[str, str] | None = None, module: str = "cli.main"
    ) -> None:
        self.log = log
        self._file = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=self._file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environ or {})},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float = START_SECONDS) -> int:
        """The exit status. Raises TimeoutExpired."""
        return self._process.wait(seconds)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and waits for the end."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"did not stop:\n{self.output()[-3000:]}") from None
        finally:
            self._file.close()

    def wait_ready(self, url: str) -> None:
        """Returns when `/readyz` says so."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise AssertionError(f"ended with {self._process.returncode}:\n{self.output()[-3000:]}")
            try:
                with urllib.request.urlopen(url + "/readyz", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.05)
        raise AssertionError(f"not ready in time:\n{self.output()[-3000:]}")


class Up:
    """`llamarelay up` on a data folder; `start` after `stop` goes on with the same data."""

    def __init__(self, folder: Path, *arguments: str, environ: dict[str, str] | None = None) -> None:
        self._folder = folder
        self._arguments = arguments
        self._environ = environ
        self.port = free_port()
        self.process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        arguments = ("up", "--port", str(self.port), "--data-dir", str(self._folder / "data"), *self._arguments)
        self.process = Process(*arguments, log=self._folder / "up.log", environ=self._environ)
        self.process.wait_ready(self.url)
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        return self.process.stop(number)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def sdk(self) -> OpenAI:
        return OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0)

    def async_sdk(self) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0)
