"""`llamarelay up`, `web` and `worker` as processes: restarts, several of each, what survives."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from openai import AsyncOpenAI

from cli.embedded_redis import EmbeddedRedis
from cli.ports import free_port
from tests.e2e.server import MODEL, Process, Up
from tests.wire import check_stream, parse_sse


def test_conversations_survive_a_restart(tmp_path: Path) -> None:
    up = Up(tmp_path).start()
    with up.sdk() as client:
        first = client.responses.create(model=MODEL, input="My name is Bob.", reasoning={"effort": "none"})
        second = client.responses.create(model=MODEL, input="I live in Rome.", previous_response_id=first.id)
        events = list(client.responses.retrieve(second.id, stream=True))
    up.stop()
    up.start()
    try:
        with up.sdk() as client:
            assert client.responses.retrieve(first.id) == first
            assert list(client.responses.retrieve(second.id, stream=True)) == events
            third = client.responses.create(
                model=MODEL,
                input="What is my name?",
                previous_response_id=second.id,
                reasoning={"effort": "none"},
                temperature=0,
            )
            assert "Bob" in third.output_text
    finally:
        up.stop(signal.SIGINT)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Two webs and two workers on one Redis; the webs' URLs."""
    folder = tmp_path_factory.mktemp("cluster")
    processes: list[Process] = []
    with EmbeddedRedis(folder / "redis", port=0) as redis:
        environ = {"REDIS_URL": redis.url, "HOST": "127.0.0.1", "MODELS": f"{MODEL}@q8_0", "DRAIN_SECONDS": "1"}
        ports = [free_port(), free_port()]
        for number, port in enumerate(ports):
            processes.append(Process("web", log=folder / f"web{number}.log", environ={**environ, "PORT": str(port)}))
            processes.append(Process("worker", log=folder / f"worker{number}.log", environ=environ))
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        try:
            for url in urls:
                processes[0].wait_ready(url)
            yield urls
        finally:
            for process in processes:
                process.stop()


async def test_two_webs_and_two_workers_are_one_service(cluster: list[str]) -> None:
    async with aiohttp.ClientSession() as http:
        while True:
            async with http.get(cluster[0] + "/readyz") as answer:
                if (await answer.json())["workers"] == 2:
                    break

        async def stream(number: int) -> str:
            url = cluster[number % 2]
            body = {"model": MODEL, "input": f"Count from 1 to {20 + number}", "stream": True}
            async with http.post(url + "/v1/responses", json=body) as answer:
                events = parse_sse(await answer.read())
            final = check_stream(events)
            other = cluster[(number + 1) % 2]
            async with http.get(f"{other}/v1/responses/{final['id']}?stream=true&starting_after=1") as answer:
                assert parse_sse(await answer.read()) == events[2:]
            return str(final["id"])

        ids = await asyncio.gather(*(stream(number) for number in range(12)))
    assert len(set(ids)) == 12


async def test_a_chain_may_change_its_front_end_at_every_turn(cluster: list[str]) -> None:
    previous: str | None = None
    for turn, question in enumerate(["My name is Bob.", "I live in Rome.", "What is my name?"]):
        async with AsyncOpenAI(base_url=cluster[turn % 2] + "/v1", api_key="none", max_retries=0) as client:
            response = await client.responses.create(
                model=MODEL,
                input=question,
                previous_response_id=previous,
                reasoning={"effort": "none"},
                temperature=0,
            )
        previous = response.id
    assert "Bob" in response.output_text


async def test_a_client_that_drops_its_connection_frees_the_slot(tmp_path: Path) -> None:
    environ = {"SLOTS": "1", "MODELS": f"{MODEL}@q8_0"}
    os.environ.update(environ)
    try:
        up = Up(tmp_path).start()
    finally:
        for name in environ:
            del os.environ[name]
    try:
        async with aiohttp.ClientSession() as http:
            body = {"model": MODEL, "input": "Count from 1 to 300", "stream": True, "reasoning": {"effort": "none"}}
            answer = await http.post(up.url + "/v1/responses", json=body)
            received = b""
            while b"output_text.delta" not in received:
                received += await answer.content.readany()
            answer.close()
            # the one slot is free again, or this would wait for a count that was never read to its end
            async with http.post(up.url + "/v1/responses", json={"model": MODEL, "input": "Hello"}) as second:
                assert (await second.json())["status"] == "completed"
            response_id = received.split(b'"id":"')[1].split(b'"')[0].decode()
            async with http.get(f"{up.url}/v1/responses/{response_id}") as stored:
                assert (await stored.json())["status"] in ("cancelled", "completed")
    finally:
        up.stop()


@pytest.mark.parametrize("stuck", ["loading", "closing"])
async def test_a_worker_ends_in_time_whatever_its_threads_do(tmp_path: Path, stuck: str) -> None:
    """A large model is being loaded, or llama.cpp is in the middle of a long step: nothing interrupts them."""
    with EmbeddedRedis(tmp_path / "redis", port=0) as redis:
        environ = {"REDIS_URL": redis.url, "MODELS": f"{MODEL}@q8_0", "DRAIN_SECONDS": "0.1", "LOG_FORMAT": "json"}
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.e2e.stuck_worker", stuck),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **environ},
        )
        assert worker.stdout is not None
        try:
            async with asyncio.timeout(60):
                await worker.stdout.readuntil(b"model_loading" if stuck == "loading" else b"worker_ready")
            worker.terminate()
            async with asyncio.timeout(25):
                said = await worker.stdout.read()
                assert await worker.wait() == 0
            assert b"worker_ended" in said
        finally:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
