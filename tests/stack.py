"""The whole system in one event loop for tests: real Redis, real sockets, real HTTP; the engine is scripted or real."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, web
from openai import AsyncOpenAI

from api.app import create_app
from shared.catalog import Catalog
from shared.settings import Settings
from tests.wire import Event, parse_sse
from workers.engine.core import Engine
from workers.engine.scripted import ScriptedEngine
from workers.models import Served, served
from workers.process import WorkerProcess
from workers.templates import Templates

MODEL = "llamarelay/spark"
TEMPLATES = Templates()  # one process for all tests


@dataclass
class Front:
    """One front end on a free port."""

    app: web.Application
    runner: web.AppRunner
    url: str

    async def stop(self) -> None:
        await self.runner.cleanup()


@dataclass
class Stack:
    """Front ends and workers on one Redis. The first of each is what most tests talk to."""

    settings: Settings
    fronts: list[Front] = field(default_factory=list)
    workers: list[WorkerProcess] = field(default_factory=list)
    engines: list[Engine] = field(default_factory=list)
    frozen: list[WorkerProcess] = field(default_factory=list)  # stopped abruptly by a test; cleaned up after it
    _http: ClientSession | None = None

    @property
    def url(self) -> str:
        return self.fronts[0].url

    @property
    def engine(self) -> ScriptedEngine:
        engine = self.engines[0]
        assert isinstance(engine, ScriptedEngine)
        return engine

    @property
    def http(self) -> ClientSession:
        if self._http is None:
            self._http = ClientSession()
        return self._http

    def client(self, front: int = 0, **options: Any) -> AsyncOpenAI:
        """The official SDK, pointed at a front end."""
        return AsyncOpenAI(base_url=self.fronts[front].url + "/v1", api_key="none", max_retries=0, **options)

    async def post(self, body: Any = None, *, front: int = 0, **fields: Any) -> tuple[int, Any]:
        """POST /v1/responses; the status and the decoded body."""
        body = {"model": MODEL, **fields} if body is None else body
        async with self.http.post(self.fronts[front].url + "/v1/responses", json=body) as answer:
            return answer.status, await answer.json()

    async def stream(self, *, front: int = 0, **fields: Any) -> list[Event]:
        """POST /v1/responses with `stream: true`; every event, checked to be well framed."""
        body = {"model": MODEL, "stream": True, **fields}
        async with self.http.post(self.fronts[front].url + "/v1/responses", json=body) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            return parse_sse(await answer.read())

    async def resume(self, response_id: str, after: int | None = None, *, front: int = 0) -> list[Event]:
        """GET /v1/responses/{id}?stream=true."""
        query = "" if after is None else f"&starting_after={after}"
        async with self.http.get(f"{self.fronts[front].url}/v1/responses/{response_id}?stream=true{query}") as answer:
            assert answer.status == 200, await answer.text()
            return parse_sse(await answer.read())

    async def get(self, path: str, *, front: int = 0) -> tuple[int, Any]:
        async with self.http.get(self.fronts[front].url + path) as answer:
            return answer.status, await answer.json()

    async def add_front(self) -> Front:
        app = create_app(self.settings)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.fronts.append(Front(app, runner, f"http://127.0.0.1:{port}"))
        return self.fronts[-1]

    async def add_worker(self, loader: Callable[..., Engine], models: list[Served] | None = None) -> WorkerProcess:
        def load(*arguments: Any) -> Engine:
            engine = loader(*arguments)
            self.engines.append(engine)
            return engine

        models = models or served(Catalog(self.settings.models_dir, {}), (MODEL,))
        process = WorkerProcess(self.settings, models, load, TEMPLATES)
        await process.start()
        self.workers.append(process)
        return process

    async def stop(self) -> None:
        if self._http:
            await self._http.close()
        await asyncio.gather(*(front.stop() for front in self.fronts))
        await asyncio.gather(*(worker.stop() for worker in (*self.workers, *self.frozen)))


def test_settings(redis_url: str, **changes: Any) -> Settings:
    """Settings for tests: short waits, so that what is waited for comes soon."""
    base = Settings(redis_url=redis_url, drain_seconds=0.2, silence_seconds=0.3, poll_seconds=0.5, slots=16)
    return dataclasses.replace(base, **changes)


test_settings.__test__ = False  # type: ignore[attr-defined]
