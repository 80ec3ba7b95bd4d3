"""Keeps one program running: starts it, passes its output on, starts it again when it ends, stops it in order."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cli import child

LONGEST_LINE = 1 << 16  # bytes; what is longer arrives in pieces
TAIL_LINES = 15
LAST_OUTPUT_SECONDS = 1.0  # how long a program's output is awaited that has ended but left somebody with its pipe

_Output = tuple[asyncio.StreamReader, asyncio.ReadTransport]


class ChildFailedError(RuntimeError):
    """A program ended too often to go on with it; the message holds its last lines."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """A program that ends is started again after a delay that grows with each end within `window_seconds`; at the
    `limit`th it is given up."""

    limit: int = 5
    window_seconds: float = 60.0
    delays_seconds: tuple[float, ...] = (0.1, 0.5, 1.0, 2.0)  # the last one repeats

    def delay(self, crashes: int) -> float:
        """Seconds to wait after that many ends, at least one."""
        return self.delays_seconds[min(crashes, len(self.delays_seconds)) - 1]


class Child:
    """One program in a process group of its own, so that the terminal's Ctrl-C reaches it only through `stop`.

    `output` gets every line it prints, `report` what happens to it. It ends when this process does (see `child.py`).
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        output: Callable[[str], None],
        report: Callable[[str], None],
        policy: RestartPolicy | None = None,
    ) -> None:
        self.name = name
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._command = list(command)
        self._environment = environment
        self._output = output
        self._report = report
        self._policy = policy or RestartPolicy()
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._crashes: deque[float] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, None while it does not run."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> asyncio.Task[None]:
        """Starts the program; returns the task that keeps it running until `stop`. It raises ChildFailedError."""
        output = await self._spawn()
        self._task = asyncio.create_task(self._keep_running(output), name=self.name)
        return self._task

    async def stop(self, timeout_seconds: float) -> None:
        """Asks the program to end (SIGTERM), kills it after `timeout_seconds`, and returns when it is gone."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        if self._task is None:
            return
        done, _ = await asyncio.wait([self._task], timeout=timeout_seconds)
        if not done:
            self._report(f"{self.name} did not end within {timeout_seconds:g} s and is killed")
            self.kill()
            await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # it is known to whoever waits for the task

    def kill(self) -> None:
        """Ends the program and what it started at once; it is not started again."""
        self._stopping.set()
        self._signal(signal.SIGKILL)

    async def _keep_running(self, output: _Output) -> None:
        while True:
            status = await self._run(output)
            if self._stopping.is_set():
                return
            delay = self._after_crash(status)
            self._report(f"{self.name} {describe(status)}; starting it again in {delay:g} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
            if self._stopping.is_set():
                return
            output = await self._spawn()

    async def _spawn(self) -> _Output:
        """Starts the program with its output into a pipe of ours: asyncio's own would make `wait` wait for everyone
        who inherited it."""
        read_end, write_end = os.pipe()
        reader = asyncio.StreamReader(limit=LONGEST_LINE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0)
        )
        try:
            self._process = await asyncio.create_subprocess_exec(
                *child.command(self._command),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                start_new_session=True,
            )
        except OSError:
            transport.close()
            raise
        finally:
            os.close(write_end)
        if self._stopping.is_set():  # it was asked to stop while it was being started
            self._signal(signal.SIGTERM)
        return reader, transport

    async def _run(self, output: _Output) -> int:
        """Passes the program's output on until it ends; returns its exit status."""
        reader, transport = output
        reading = asyncio.create_task(self._pass_on(reader))
        status = await self._wait()
        await asyncio.wait([reading], timeout=LAST_OUTPUT_SECONDS)
        reading.cancel()
        transport.close()
        return status

    async def _wait(self) -> int:
        """The exit status. What the program leaves behind in its process group is killed, which closes the pipe."""
        process = self._process
        assert process is not None
        status = await process.wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        return status

    async def _pass_on(self, reader: asyncio.StreamReader) -> None:
        rest = b""
        while data := await reader.read(LONGEST_LINE):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._line(line)
            if len(rest) >= LONGEST_LINE:
                self._line(rest)
                rest = b""
        if rest:
            self._line(rest)

    def _line(self, data: bytes) -> None:
        line = data.decode("utf-8", "replace").rstrip("\r")
        self.tail.append(line)
        self._output(line)

    def _after_crash(self, status: int) -> float:
        """The delay before the next start. Raises ChildFailedError if there shall be none."""
        now = time.monotonic()
        self._crashes.append(now)
        while now - self._crashes[0] > self._policy.window_seconds:
            self._crashes.popleft()
        if len(self._crashes) < self._policy.limit:
            return self._policy.delay(len(self._crashes))
        last = "\n".join(f"  {line}" for line in self.tail) or "  (it printed nothing)"
        raise ChildFailedError(
            f"{self.name} ended {len(self._crashes)} times within {self._policy.window_seconds:g} s, "
            f"the last time it {describe(status)}. Its last lines:\n{last}"
        )

    def _signal(self, number: signal.Signals) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)


def describe(status: int) -> str:
    """How a program ended, for people: `ended with status 1`, `was killed by SIGSEGV`."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
