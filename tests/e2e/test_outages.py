"""Real processes and a Redis that dies, workers that are paused or killed: clients see one gapless stream."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from cli.embedded_redis import EmbeddedRedis
from cli.ports import free_port
from shared.redis import event_log, keys
from tests.e2e.server import MODEL, Process
from tests.wire import check_stream, parse_sse

COUNT = {
    "model": MODEL,
    "input": "Count from 1 to 150",
    "stream": True,
    "reasoning": {"effort": "none"},
    "temperature": 0,
}


class Deployment:
    """Redis, one web, and workers that tests start and end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.redis = EmbeddedRedis(folder / "redis", port=0)
        self.redis.start()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {
            "REDIS_URL": self.redis.url,
            "HOST": "127.0.0.1",
            "MODELS": f"{MODEL}@q8_0",
            "LEASE_SECONDS": "1",
            "DRAIN_SECONDS": "1",
            "LOG_FORMAT": "json",
            "PACE": "0.01",
        }
        self.processes = [Process("web", log=folder / "web.log", environ={**self.environ, "PORT": str(self.port)})]

    def worker(self) -> Process:
        """One more worker, with the model, and so slow that none of the answers ends before a test gets to it."""
        name = f"worker{len(self.processes)}"
        notes, log = self._folder / f"{name}.notes", self._folder / f"{name}.log"
        process = Process(str(notes), log=log, environ=self.environ, module="tests.chaos.worker")
        self.processes.append(process)
        return process

    def ready(self) -> None:
        self.processes[0].wait_ready(self.url)

    def stop(self) -> None:
        for process in self.processes:
            process.stop()
        self.redis.stop()


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path)
    yield deployment
    deployment.stop()


@asynccontextmanager
async def stream(
    deployment: Deployment, http: aiohttp.ClientSession
) -> AsyncIterator[tuple[str, aiohttp.ClientResponse, bytes]]:
    """A stream whose first text has come: the response's id, the rest to be read, what has been read."""
    async with http.post(deployment.url + "/v1/responses", json=COUNT) as answer:
        assert answer.status == 200
        received = b""
        while b"output_text.delta" not in received:
            received += await answer.content.readany()
        yield received.split(b'"id":"')[1].split(b'"')[0].decode(), answer, received


async def grows(redis: Redis, response_id: str) -> int:
    """The length of a log when it has become longer than it is now."""
    before = await event_log.length(redis, response_id)
    async with asyncio.timeout(40):
        while (length := await event_log.length(redis, response_id)) <= before:
            await asyncio.sleep(0.002)
    return length


async def logged(process: Process, event: str) -> None:
    async with asyncio.timeout(60):
        while event not in process.output():
            await asyncio.sleep(0.02)


async def stored(deployment: Deployment, http: aiohttp.ClientSession, response_id: str) -> Any:
    async with http.get(f"{deployment.url}/v1/responses/{response_id}") as answer:
        return await answer.json()


async def test_streams_outlast_a_redis_that_is_killed(deployment: Deployment) -> None:
    """Twice, and the second time for longer than a lease lasts."""
    worker = deployment.worker()
    deployment.ready()
    async with aiohttp.ClientSession() as http:

        async def one() -> tuple[Any, Any]:
            async with stream(deployment, http) as (response_id, answer, received):
                begun.append(response_id)
                events = parse_sse(received + await answer.read())
            return check_stream(events), await stored(deployment, http, response_id)

        begun: list[str] = []
        streams = [asyncio.create_task(one()) for _ in range(5)]
        async with asyncio.timeout(30):
            while len(begun) < 5:
                await asyncio.sleep(0.005)
        for seconds in (0.0, 1.5):
            await asyncio.to_thread(deployment.redis.kill)
            async with http.post(deployment.url + "/v1/responses", json={"model": MODEL, "input": "Hi"}) as answer:
                assert answer.status == 503
                assert "Retry-After" in answer.headers
            await asyncio.sleep(seconds)
            await asyncio.to_thread(deployment.redis.start)
        answers = await asyncio.gather(*streams)
    for streamed, kept in answers:
        assert streamed["status"] == "completed"
        assert kept == streamed
    assert "job_broke" not in worker.output()


async def test_a_paused_worker_can_append_nothing_when_it_wakes(deployment: Deployment) -> None:
    zombie = deployment.worker()
    deployment.ready()
    async with aiohttp.ClientSession() as http, Redis.from_url(deployment.redis.url) as redis:
        async with stream(deployment, http) as (response_id, answer, received):
            os.kill(zombie.pid, signal.SIGSTOP)
            deployment.worker()
            try:
                events = parse_sse(received + await answer.read())
            finally:
                length = await event_log.length(redis, response_id)
                os.kill(zombie.pid, signal.SIGCONT)
        final = check_stream(events)
        assert final["status"] == "completed"
        await logged(zombie, "lease_lost")
        assert await event_log.length(redis, response_id) == length == len(events)
        assert await redis.exists(keys.lease(response_id)) == 0
        assert await stored(deployment, http, response_id) == final
        for _ in range(4):  # the zombie is a worker like any other again
            async with http.post(deployment.url + "/v1/responses", json={"model": MODEL, "input": "Hi"}) as again:
                assert again.status == 200


async def test_a_worker_paused_in_the_middle_of_anothers_run_stays_out(deployment: Deployment) -> None:
    """The zombie wakes while its successor writes: it can neither append nor take the lease away."""
    zombie = deployment.worker()
    deployment.ready()
    async with aiohttp.ClientSession() as http, Redis.from_url(deployment.redis.url) as redis:
        async with stream(deployment, http) as (response_id, answer, received):
            os.kill(zombie.pid, signal.SIGSTOP)
            try:
                deployment.worker()
                await grows(redis, response_id)
            finally:
                os.kill(zombie.pid, signal.SIGCONT)
            events = parse_sse(received + await answer.read())
        check_stream(events)
        await logged(zombie, "lease_lost")
        assert await event_log.length(redis, response_id) == len(events)


async def test_a_stream_that_goes_on_outlives_three_killed_workers(deployment: Deployment) -> None:
    """It has said more each time, so it is not what they were lost for."""
    worker = deployment.worker()
    deployment.ready()
    async with aiohttp.ClientSession() as http, Redis.from_url(deployment.redis.url) as redis:
        async with stream(deployment, http) as (response_id, answer, received):
            worker.stop(signal.SIGKILL)
            for _ in range(2):
                worker = deployment.worker()
                await grows(redis, response_id)
                await logged(worker, "losses_forgotten")  # which comes just behind
                worker.stop(signal.SIGKILL)
            last = deployment.worker()
            events = parse_sse(received + await answer.read())
        final = check_stream(events)
        assert final["status"] == "completed"
        assert await stored(deployment, http, response_id) == final
        async with http.post(deployment.url + "/v1/responses", json={"model": MODEL, "input": "Hi"}) as again:
            assert again.status == 200
        assert "worker_ready" in last.output()
        assert await redis.exists(keys.job(response_id), keys.retry(response_id), keys.lease(response_id)) == 0
