"""One supervised program: started again when it ends, given up when it cannot run, stopped in order."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cli import child
from cli.supervisor import LONGEST_LINE, TAIL_LINES, Child, ChildFailedError, RestartPolicy
from tests.cli.processes import gone

AT_ONCE = RestartPolicy(delays_seconds=(0.0,))
STOP_SECONDS = 60.0


class Watched:
    """A child that runs Python code, and all that it printed and that was reported of it."""

    def __init__(self, code: str, policy: RestartPolicy = AT_ONCE) -> None:
        self.lines: list[str] = []
        self.reports: list[str] = []
        self._news = asyncio.Event()
        self.child = Child("it", [sys.executable, "-c", code], output=self._take, report=self._report, policy=policy)

    def _take(self, line: str) -> None:
        self.lines.append(line)
        self._news.set()

    def _report(self, text: str) -> None:
        self.reports.append(text)
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                self._news.clear()
                await self._news.wait()


@pytest.fixture
async def watch() -> AsyncIterator[Callable[..., Watched]]:
    watched: list[Watched] = []

    def make(code: str, policy: RestartPolicy = AT_ONCE) -> Watched:
        watched.append(Watched(code, policy))
        return watched[-1]

    yield make
    for each in watched:
        each.child.kill()
        await each.child.stop(STOP_SECONDS)


WAIT_FOR_TERM = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}); print('up', flush=True); "


async def test_every_line_arrives_whole(watch: Callable[..., Watched]) -> None:
    it = watch(
        "import sys; out = sys.stdout.buffer; "
        f"out.write(b'one\\r\\n\\xff\\n' + b'x' * {LONGEST_LINE * 2} + b'\\nlast'); out.flush(); "
        " sys.stderr.write('\\nerror'); sys.stderr.flush(); sys.stdin.read(); sys.exit()"
    )
    task = await it.child.start()
    await it.until(lambda: bool(it.reports))
    await it.child.stop(STOP_SECONDS)
    await task
    assert it.lines[:2] == ["one", "\N{REPLACEMENT CHARACTER}"]
    last = it.lines.index("last")
    assert "".join(it.lines[2:last]) == "x" * LONGEST_LINE * 2
    assert it.lines[last + 1] == "error"


async def test_a_child_that_ends_is_started_again_and_said_so(watch: Callable[..., Watched], tmp_path: Path) -> None:
    it = watch(
        f"import pathlib, sys; mark = pathlib.Path({str(tmp_path / 'mark')!r})\n"
        "if mark.exists(): print('again', flush=True); sys.stdin = open(0); import signal; signal.pause()\n"
        "mark.touch(); sys.exit(3)"
    )
    await it.child.start()
    await it.until(lambda: "again" in it.lines)
    assert it.reports == ["it ended with status 3; starting it again in 0 s"]
    pid = it.child.pid
    assert pid is not None
    os.kill(pid, signal.SIGSEGV)
    await it.until(lambda: it.lines.count("again") == 2)
    assert it.reports[1] == "it was killed by SIGSEGV; starting it again in 0 s"


async def test_a_child_that_cannot_run_is_given_up_with_its_last_lines(watch: Callable[..., Watched]) -> None:
    it = watch(f"[print('line', number) for number in range({TAIL_LINES * 2})]; raise SystemExit('no such thing')")
    task = await it.child.start()
    with pytest.raises(ChildFailedError) as error:
        await task
    assert len(it.reports) == RestartPolicy().limit - 1
    assert str(error.value).startswith("it ended 5 times within 60 s, the last time it ended with status 1.")
    assert str(error.value).endswith("\n  no such thing")
    assert f"line {TAIL_LINES * 2 - 1}\n" in str(error.value)
    assert "line 0\n" not in str(error.value)


async def test_ends_outside_the_window_are_forgotten(watch: Callable[..., Watched]) -> None:
    it = watch("", RestartPolicy(limit=2, window_seconds=0.0, delays_seconds=(0.0,)))
    await it.child.start()
    await it.until(lambda: len(it.reports) == 6)


def test_the_delay_grows_to_its_last_value() -> None:
    policy = RestartPolicy(delays_seconds=(0.1, 0.5, 1.0))
    assert [policy.delay(crashes) for crashes in (1, 2, 3, 4, 9)] == [0.1, 0.5, 1.0, 1.0, 1.0]


async def test_stop_lets_the_child_finish(watch: Callable[..., Watched]) -> None:
    it = watch(WAIT_FOR_TERM + "signal.sigwait({signal.SIGTERM}); print('finished')")
    task = await it.child.start()
    await it.until(lambda: "up" in it.lines)
    await it.child.stop(STOP_SECONDS)
    assert task.done()
    assert it.lines == ["up", "finished"]
    assert it.reports == []
    assert it.child.pid is None


async def test_stop_kills_a_child_that_does_not_end(watch: Callable[..., Watched]) -> None:
    it = watch(WAIT_FOR_TERM + "signal.sigwait({signal.SIGUSR1})")
    await it.child.start()
    await it.until(lambda: "up" in it.lines)
    await it.child.stop(0.01)
    assert it.reports == ["it did not end within 0.01 s and is killed"]
    assert it.child.pid is None


async def test_stop_does_not_wait_for_the_next_start(watch: Callable[..., Watched]) -> None:
    it = watch("", RestartPolicy(delays_seconds=(3600.0,)))
    task = await it.child.start()
    await it.until(lambda: bool(it.reports))
    await it.child.stop(STOP_SECONDS)
    assert task.done()


SLEEPER = (
    "import subprocess, sys; s = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'], "
    "start_new_session={}); print(s.pid, flush=True); "
)


async def test_kill_ends_what_the_child_started(watch: Callable[..., Watched]) -> None:
    it = watch(SLEEPER.format(False) + "s.wait()")
    await it.child.start()
    await it.until(lambda: bool(it.lines))
    with gone(int(it.lines[0])) as wait:
        it.child.kill()
        await asyncio.to_thread(wait)


async def test_a_leftover_that_holds_the_output_does_not_hinder_the_restart(watch: Callable[..., Watched]) -> None:
    it = watch(SLEEPER.format(True), RestartPolicy(delays_seconds=(3600.0,)))
    await it.child.start()
    await it.until(lambda: bool(it.lines))
    await it.until(lambda: bool(it.reports))
    os.kill(int(it.lines[0]), signal.SIGKILL)


async def test_a_child_is_in_a_process_group_of_its_own(watch: Callable[..., Watched]) -> None:
    it = watch("import os, signal; print(os.getpgid(0) == os.getpid(), flush=True); signal.pause()")
    await it.child.start()
    await it.until(lambda: bool(it.lines))
    assert it.lines == ["True"]


def test_children_do_not_outlive_a_killed_parent() -> None:
    code = (
        "import subprocess, sys; from cli import child\n"
        "c = subprocess.Popen(child.command([sys.executable, '-c', "
        "'import signal; print(1, flush=True); signal.pause()']), stdout=subprocess.PIPE)\n"
        "c.stdout.readline(); print(c.pid, flush=True); c.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        with gone(int(parent.stdout.readline())) as wait:
            parent.kill()
            wait()


def test_a_child_whose_parent_is_already_gone_does_not_start() -> None:
    command = child.command([sys.executable, "-c", "print('started')"])
    command[command.index(str(os.getpid()))] = "1" if os.getpid() != 1 else "2"
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is gone" in done.stderr


def test_a_program_that_does_not_exist_is_named() -> None:
    done = subprocess.run(child.command(["/no/such/program"]), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "cannot start /no/such/program: No such file or directory\n")
