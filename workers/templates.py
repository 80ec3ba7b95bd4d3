"""Chat templates, rendered in a process of their own, so that none can hold up or bring down a worker.

One process renders for all models of a worker, one conversation after the other. It is started ahead of its first use,
and again when a template has ended it.
"""

from __future__ import annotations

import asyncio
import marshal
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from workers.probe import Traits
from workers.template import MAX_SIZE, TemplateError
from workers.template_program import LENGTH, LOAD, REFUSED, RENDER

PROGRAM = Path(__file__).with_name("template_program.py")
CPU_SECONDS = 10.0  # of computing for one conversation; what real templates need is measured in milliseconds
MEMORY_BYTES = 1 << 30
WALL_SECONDS = 120.0  # should the process hang without computing
MOST_ANSWER_BYTES = 4 * MAX_SIZE
ENVIRONMENT = {name: os.environ[name] for name in ("TZ",) if name in os.environ}  # no secrets; templates ask the date


class _Ended(Exception):
    """The process ended without an answer."""

    def __init__(self, status: int | None) -> None:
        self.status = status


class Templates:
    """The process, and what it was told."""

    def __init__(self, *, cpu_seconds: float = CPU_SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        self._limits = (str(cpu_seconds), str(memory_bytes))
        self._cpu_seconds = cpu_seconds
        self._process: Process | None = None
        self._numbers: dict[bytes, int] = {}  # of all templates there were
        self._known: set[int] = set()  # those that the process has loaded
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def start(self) -> None:
        """Starts the process, if it does not run: what needs it first waits less."""
        async with self._lock:
            with suppress(TemplateError):
                await self._started()

    async def close(self) -> None:
        """Ends the process."""
        self._closed = True
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        async with self._lock:  # `start` may be at it
            await self._end()

    async def load(self, source: str, variables: dict[str, Any], *, bos_token: str, eos_token: str) -> Template:
        """A template that shows a plain message. Raises TemplateError for another."""
        about = (source, bos_token, eos_token, variables)
        number = self._numbers.setdefault(marshal.dumps(about), len(self._numbers))
        loading = (LOAD, number, *about)
        traits = await self._unhurried(self._do(loading, loading))
        return Template(self, loading, source, msgspec.json.decode(traits, type=Traits))

    async def render(self, loading: tuple[Any, ...], messages: list[dict[str, Any]], variables: dict[str, Any]) -> str:
        """What `Template.render` gives."""
        return await self._unhurried(self._do(loading, (RENDER, loading[1], messages, variables)))

    async def _unhurried(self, work: Coroutine[Any, Any, str]) -> str:
        """Goes on when the caller is cancelled: an answer that nobody reads would be taken for the next one's."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _do(self, loading: tuple[Any, ...], request: tuple[Any, ...]) -> str:
        """The answer to a request about a template, which is loaded by `loading`. Raises TemplateError."""
        async with self._lock:
            try:
                return await self._try(loading, request)
            except _Ended as ended:
                if ended.status == -signal.SIGPROF:
                    raise TemplateError(f"it took more than {self._cpu_seconds:g} s of computing") from None
            try:  # something else ended it, as a machine without memory may
                return await self._try(loading, request)
            except _Ended:
                raise TemplateError("it ended the process that renders it") from None

    async def _try(self, loading: tuple[Any, ...], request: tuple[Any, ...]) -> str:
        process = await self._started()
        if request is not loading and loading[1] not in self._known:
            await self._ask(process, loading)
        answer = await self._ask(process, request)
        self._known.add(loading[1])
        return answer

    async def _ask(self, process: Process, request: tuple[Any, ...]) -> str:
        """The text of the answer. Raises TemplateError where the template refuses, _Ended where the process ends."""
        encoded = marshal.dumps(request)
        assert process.stdin
        assert process.stdout
        try:
            async with asyncio.timeout(WALL_SECONDS):
                process.stdin.writelines([LENGTH.pack(len(encoded)), encoded])
                await process.stdin.drain()
                (size,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
                kind = await process.stdout.readexactly(1)
                if size > MOST_ANSWER_BYTES:
                    raise ConnectionError
                text = (await process.stdout.readexactly(size)).decode(errors="surrogatepass")
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            raise _Ended(await self._end()) from None
        except BaseException:
            await self._end()
            raise
        if kind == REFUSED:
            raise TemplateError(text)
        return text

    async def _started(self) -> Process:
        """The process. To be called with the lock."""
        if self._closed:
            raise TemplateError("this worker is being stopped")
        if self._process is None or self._process.returncode is not None:
            await self._end()
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-I", str(PROGRAM), *self._limits,
                    stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=ENVIRONMENT,
                )  # fmt: skip
            except OSError as error:
                raise TemplateError(f"the process that renders it cannot be started: {error.strerror}") from error
        return self._process

    async def _end(self) -> int | None:
        """Ends the process; returns its exit status, which is its own where it had ended before."""
        process, self._process = self._process, None
        self._known.clear()
        if process is None:
            return None
        assert process.stdin
        process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):  # it may be ending by itself, and its status says why
                return await process.wait()
        with suppress(ProcessLookupError):
            process.kill()
        return await process.wait()


class Template:
    """One model's chat template in the other process."""

    def __init__(self, templates: Templates, loading: tuple[Any, ...], source: str, traits: Traits) -> None:
        self._templates = templates
        self._loading = loading
        self.source = source
        self.traits = traits

    async def render(self, messages: list[dict[str, Any]], variables: dict[str, Any]) -> str:
        """The prompt up to where the assistant begins to speak. Raises TemplateError."""
        return await self._templates.render(self._loading, messages, variables)
