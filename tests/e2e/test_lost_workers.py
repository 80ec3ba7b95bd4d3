"""Workers that are killed, stopped or paused in the middle of many streams: real processes, the demo model, no faults
by chance. Every stream goes on as if nothing had happened."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from tests.chaos import recipes
from tests.chaos.checks import Answer, answer_of, check_whole
from tests.chaos.cluster import Cluster, Member
from tests.chaos.engines import FALL, words
from tests.chaos.story import Event, Story
from tests.mcp_servers import slow_server
from tests.waiting import until

KINDS = (
    "text-60",
    "text-40",
    "reasoning-prime",
    "reasoning-sum",
    "tool-none",
    "tool-medium",
    "schema-none",
    "schema-medium",
)
LEASE = 1.5


def under_way(name: str) -> Callable[[Event], bool]:
    """Whether an event shows that the part of the answer which the recipe is about has begun."""
    kinds = {
        "text": "output_text",
        "reasoning": "reasoning_text",
        "tool": "function_call_arguments",
        "schema": "output_text",
    }
    return lambda event: event["type"] == f"response.{kinds[name.split('-')[0]]}.delta"


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=1 << 20) as session:
        yield session


def cluster(folder: Path, **environ: Any) -> Cluster:
    settings = {"LEASE_SECONDS": LEASE, "PACE": 0.01, "POLL_SECONDS": 0.2}
    return Cluster(folder, **(settings | environ))


async def ask(http: aiohttp.ClientSession, web: Member, body: dict[str, Any]) -> Event:
    async with http.post(web.url + "/v1/responses", json=body) as answer:
        assert answer.status == 200, await answer.text()
        response: Event = await answer.json()
        return response


async def follow(http: aiohttp.ClientSession, web: Member, story: Story, body: dict[str, Any]) -> None:
    """One stream over one connection, from the request to its end."""
    async with http.post(web.url + "/v1/responses", json={**body, "stream": True}) as answer:
        assert answer.status == 200, await answer.text()
        async for line in answer.content:
            if line.startswith(b"data: {"):
                story.take(line[6:-1])


class Streams:
    """One stream of each kind, at the same time, and what an undisturbed run says."""

    def __init__(self, http: aiohttp.ClientSession, processes: Cluster, names: tuple[str, ...] = KINDS) -> None:
        self._http = http
        self._processes = processes
        self._web = processes.webs[0]
        self.stories = [Story(name) for name in names]
        self.undisturbed: dict[str, Answer] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns when each is in the middle of what it is about, where it stays as long as its worker has it."""
        asked = [ask(self._http, self._web, recipes.ALL[story.name]) for story in self.stories]
        answers = await asyncio.gather(*asked)
        self.undisturbed = {story.name: answer_of(found) for story, found in zip(self.stories, answers, strict=True)}
        for worker in self._processes.workers:
            worker.hold()
        self._tasks = [
            asyncio.create_task(follow(self._http, self._web, story, recipes.ALL[story.name])) for story in self.stories
        ]
        await until(lambda: all(any(map(under_way(s.name), s.events())) for s in self.stories), 30)
        assert not any(story.ended for story in self.stories)

    async def check(self) -> None:
        """Each goes on to its end, on the connection it has, and says what it says undisturbed."""
        for worker in self._processes.workers:
            worker.hold(False)
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)
        for story in self.stories:
            check_whole(story, self.undisturbed[story.name])


async def test_a_killed_workers_streams_are_continued_by_another(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with cluster(tmp_path, webs=1) as processes:
        streams = Streams(http, processes)
        await streams.start()
        assert len(set().union(*(worker.running for worker in processes.workers))) == len(KINDS)
        await max(processes.workers, key=lambda worker: len(worker.running)).kill()
        await streams.check()


async def test_a_killed_workers_streams_are_continued_when_it_is_back(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with cluster(tmp_path, webs=1, workers=1) as processes:
        streams = Streams(http, processes)
        await streams.start()
        [worker] = processes.workers
        await worker.kill()
        worker.start()
        await streams.check()


async def test_a_stopped_worker_hands_its_streams_over_and_exits(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """Its lease lasts for an hour and nobody polls: what is not handed over never goes on."""
    patience = {"LEASE_SECONDS": 3600, "POLL_SECONDS": 3600, "DRAIN_SECONDS": 0.5}
    async with cluster(tmp_path, webs=1, workers=1, **patience) as processes:
        streams = Streams(http, processes)
        await streams.start()
        [stopped] = processes.workers
        heir = await processes.add_worker()
        await stopped.stop()
        await until(lambda: bool(heir.begun), 30)
        await streams.check()


async def test_processes_stop_in_time_though_redis_takes_what_they_say_and_never_answers(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    """Half-open connections, in the middle of streams, with the time to drain that there is by default."""
    async with cluster(tmp_path, workers=1, DRAIN_SECONDS=20) as processes:
        [web, cut_off], [stopped] = processes.webs, processes.workers
        streams = Streams(http, processes, ("text-60", "schema-none"))
        await streams.start()
        other = Story("text-60")
        left = asyncio.create_task(follow(http, cut_off, other, recipes.ALL[other.name]))
        await until(lambda: other.streaming)
        for member in (stopped, cut_off):
            member.proxy.hang()
        await asyncio.gather(stopped.stop(), cut_off.stop())  # NotStopped after 25 s
        with suppress(aiohttp.ClientError):
            await left
        assert not other.ended
        stopped.proxy.heal(drop=True)
        stopped.start()
        await streams.check()
        assert web.alive


async def test_a_job_handed_over_many_times_has_taken_no_worker_down(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with cluster(tmp_path, webs=1, workers=1, DRAIN_SECONDS=0.1) as processes:
        [web], [worker] = processes.webs, processes.workers
        story = Story("scripted-30")
        undisturbed = answer_of(await ask(http, web, recipes.ALL[story.name]))
        worker.hold(each=True)  # so that it cannot end before
        streaming = asyncio.create_task(follow(http, web, story, recipes.ALL[story.name]))
        for _ in range(4):
            await until(lambda: bool(worker.running), 30)
            await worker.stop()
            worker.start()
        worker.hold(False)
        await streaming
        check_whole(story, undisturbed)


async def test_a_stopped_worker_takes_no_more_jobs(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with cluster(tmp_path, webs=1, workers=1, DRAIN_SECONDS=20) as processes:
        [web], [stopped] = processes.webs, processes.workers
        stopped.hold()
        long = Story("scripted-30")
        streaming = asyncio.create_task(follow(http, web, long, recipes.ALL[long.name]))
        await until(lambda: long.streaming and bool(stopped.running))
        heir = await processes.add_worker()
        stopping = asyncio.create_task(stopped.stop())
        await stopped.logged("worker_draining")
        for _ in range(3):
            response = await ask(http, web, recipes.ALL["text-20"])
            assert response["status"] == "completed"
            assert stopped.begun == {long.response_id}
        assert heir.alive
        stopped.hold(False)
        await streaming  # it was short enough to end where it was
        assert long.final is not None
        assert long.final["output"][-1]["content"][0]["text"] == words(30)
        await stopping


async def test_a_worker_that_was_paused_past_its_lease_says_nothing_more(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with cluster(tmp_path, webs=1, workers=1) as processes:
        streams = Streams(http, processes)
        await streams.start()
        [zombie] = processes.workers
        zombie.signal(signal.SIGSTOP)
        heir = await processes.add_worker()
        ids = {story.response_id for story in streams.stories}
        await until(lambda: heir.begun >= ids, 30)
        zombie.hold(False)
        zombie.signal(signal.SIGCONT)
        await zombie.logged("lease_lost")
        await streams.check()


@asynccontextmanager
async def revived(worker: Member) -> AsyncIterator[list[str]]:
    """Meanwhile a worker is started again whenever it has died; a word for each time."""
    deaths: list[str] = []

    async def watch() -> None:
        while True:
            await until(lambda: not worker.alive, 120)
            deaths.append("died")
            worker.start()

    watching = asyncio.create_task(watch())
    try:
        yield deaths
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_job_that_takes_three_workers_down_takes_no_other_job_down(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    """It falls over before the others, which are begun again with it, have said anything more."""
    async with cluster(tmp_path, webs=1, workers=1, PACE=0.1) as processes:
        [web], [worker] = processes.webs, processes.workers
        body = {**recipes.ALL["scripted-10"], "input": "Say 2 words"}
        undisturbed = answer_of(await ask(http, web, body))
        stories, poison = [Story("scripted-10") for _ in range(3)], Story("poison")
        streams = [asyncio.create_task(follow(http, web, story, body)) for story in stories]
        await until(lambda: all(story.streaming for story in stories), 30)
        async with revived(worker) as deaths, asyncio.timeout(90):
            await follow(http, web, poison, {**body, "input": FALL})
            await asyncio.gather(*streams)
        assert len(deaths) == 3
        assert poison.final["status"] == "failed"
        assert poison.final["error"]["code"] == "server_error"
        assert "3 workers were lost" in poison.final["error"]["message"]
        for story in stories:
            check_whole(story, undisturbed)


async def test_a_stream_that_goes_on_each_time_outlives_many_workers(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with cluster(tmp_path, webs=1, workers=1) as processes:
        [web], [worker] = processes.webs, processes.workers
        story = Story("scripted-30")
        undisturbed = answer_of(await ask(http, web, recipes.ALL[story.name]))
        worker.hold(each=True)  # so that it cannot end before
        streaming = asyncio.create_task(follow(http, web, story, recipes.ALL[story.name]))
        for lost in range(4):
            seen = len(story.events())
            await until(lambda seen=seen: len(story.events()) > seen + 2, 30)  # type: ignore[misc]
            if lost:
                await worker.logged("losses_forgotten")  # which comes just behind
            await worker.kill()
            worker.start()
        worker.hold(False)
        await streaming
        check_whole(story, undisturbed)


async def test_nothing_is_left_of_what_lost_workers_ran(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with cluster(tmp_path, webs=1) as processes:
        streams = Streams(http, processes, KINDS[:4])
        await streams.start()
        await processes.workers[0].kill()
        await streams.check()
        async with Redis.from_url(processes.redis.url) as redis, asyncio.timeout(20):
            while [key async for key in redis.scan_iter() if key.startswith((b"lr:queue:", b"arq:"))]:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(("tool", "again"), [("look", True), ("change", False)])
async def test_a_worker_is_killed_while_a_remote_tool_runs(
    tmp_path: Path, http: aiohttp.ClientSession, tool: str, again: bool
) -> None:
    """`look` is read-only and called again; `change` is not, and the model goes on without its answer."""
    allowed = {"ALLOW_REMOTE_MCP": "1", "MCP_ALLOWED_HOSTS": "127.0.0.1", "ENCRYPTION_KEY": "a key for tests"}
    async with cluster(tmp_path, webs=1, workers=1, **allowed) as processes, slow_server() as server:
        body = {
            "model": recipes.ALL["text-60"]["model"],
            "input": "Hello",
            "tools": [{"type": "mcp", "server_label": "slow", "server_url": server.url}],
            "tool_choice": {"type": "mcp", "server_label": "slow", "name": tool},
            "temperature": 0,
            "max_output_tokens": 200,
        }
        story = Story("mcp")
        stream = asyncio.create_task(follow(http, processes.webs[0], story, body))
        await until(lambda: bool(server.calls), 30)
        [worker] = processes.workers
        await worker.kill()
        worker.start()
        await until(lambda: len(server.calls) == 1 + again, 30)
        server.release.set()
        async with asyncio.timeout(60):
            await stream
    assert [name for name, _ in server.calls] == [tool] * (1 + again)
    call = next(item for item in story.final["output"] if item["type"] == "mcp_call")
    assert call["status"] == ("completed" if again else "failed")
    assert (call["output"] == tool) == again
