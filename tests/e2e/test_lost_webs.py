"""Webs that are killed or stopped while clients wait: what is stored goes on and is found at another web, what is not
stored ends and frees its slot."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from shared.redis import keys
from tests.chaos import recipes
from tests.chaos.checks import Answer, answer_of, check_replay, check_stored, check_whole
from tests.chaos.cluster import Cluster, Member
from tests.chaos.story import Event, Story
from tests.waiting import until

END = pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
NAME = "text-60"
BODY = recipes.ALL[NAME]


@asynccontextmanager
async def cluster(folder: Path, **environ: Any) -> AsyncIterator[tuple[Cluster, aiohttp.ClientSession, Answer]]:
    """Two webs, one worker, a client, and what an undisturbed run says."""
    settings = {"LEASE_SECONDS": 1.5, "PACE": 0.01, "DRAIN_SECONDS": 0.2, **environ}
    timeout = aiohttp.ClientTimeout(total=None)
    async with Cluster(folder, workers=1, **settings) as processes, aiohttp.ClientSession(timeout=timeout) as http:
        _, undisturbed = await post(http, processes.webs[0], BODY)
        yield processes, http, answer_of(undisturbed)


async def post(
    http: aiohttp.ClientSession, web: Member, body: dict[str, Any], headers: dict[str, str] | None = None
) -> tuple[int, Event]:
    async with http.post(web.url + "/v1/responses", json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def get(http: aiohttp.ClientSession, web: Member, path: str) -> Event:
    async with http.get(f"{web.url}/v1/responses/{path}") as answer:
        assert answer.status == 200, await answer.text()
        found: Event = await answer.json()
        return found


async def follow(http: aiohttp.ClientSession, web: Member, story: Story, body: dict[str, Any] | None = None) -> None:
    """Creates a stream, or resumes it, over one connection, to its end or that of the connection."""
    at = f"{web.url}/v1/responses"
    query = {"stream": "true", "starting_after": str(len(story.raw) - 1)}
    request = (
        http.post(at, json={**body, "stream": True}) if body else http.get(f"{at}/{story.response_id}", params=query)
    )
    with suppress(aiohttp.ClientError):
        async with request as answer:
            assert answer.status == 200, await answer.text()
            async for line in answer.content:
                if line.startswith(b"data: {") and line.endswith(b"\n"):
                    story.take(line[6:-1])


async def end_of(web: Member, number: signal.Signals) -> None:
    await (web.kill() if number == signal.SIGKILL else web.stop())


@END
@pytest.mark.parametrize("background", [False, True])
async def test_a_stored_stream_is_resumed_at_another_web(tmp_path: Path, end: signal.Signals, background: bool) -> None:
    async with cluster(tmp_path) as (processes, http, undisturbed):
        lost, other = processes.webs
        processes.workers[0].hold()
        story = Story(NAME)
        streaming = asyncio.create_task(follow(http, lost, story, {**BODY, "background": background}))
        await until(lambda: len(story.raw) > 10)
        await end_of(lost, end)
        await streaming
        assert not story.ended
        processes.workers[0].hold(False)
        await follow(http, other, story)
        check_whole(story, undisturbed)
        check_stored(story, await get(http, other, str(story.response_id)))
        again = Story(NAME)
        again.response_id = story.response_id
        await follow(http, other, again)
        check_replay(story, again)


@END
async def test_the_answer_to_a_request_without_stream_is_fetched_at_another_web(
    tmp_path: Path, end: signal.Signals
) -> None:
    async with cluster(tmp_path) as (processes, http, undisturbed):
        lost, other = processes.webs
        [worker] = processes.workers
        worker.hold()
        key = {"Idempotency-Key": "once"}
        waiting = asyncio.create_task(post(http, lost, BODY, key))
        await until(lambda: bool(worker.running))
        [response_id] = worker.running
        await end_of(lost, end)
        if end == signal.SIGKILL:
            with pytest.raises(aiohttp.ClientError):
                await waiting
        else:
            status, body = await waiting
            assert (status, body["error"]["code"]) == (503, "server_restarting")
        repeated = asyncio.create_task(post(http, other, BODY, key))
        worker.hold(False)
        status, response = await repeated
        assert (status, response["id"]) == (200, response_id)
        assert answer_of(response) == undisturbed
        assert await get(http, other, response_id) == response


@END
async def test_an_unstored_response_ends_with_its_web_and_frees_its_slot(tmp_path: Path, end: signal.Signals) -> None:
    """One that runs, and one that waits for the only slot."""
    async with cluster(tmp_path, SLOTS=1) as (processes, http, undisturbed):
        lost, other = processes.webs
        [worker] = processes.workers
        worker.hold()
        story = Story(NAME)
        streaming = asyncio.create_task(follow(http, lost, story, {**BODY, "store": False}))
        await until(lambda: story.streaming and bool(worker.running))
        waiting = Story(NAME)
        queued = asyncio.create_task(follow(http, lost, waiting, {**BODY, "store": False}))
        await until(lambda: bool(waiting.raw))
        await end_of(lost, end)
        await asyncio.gather(streaming, queued)
        # the only slot is held for as long as the worker keeps a response
        async with Redis.from_url(processes.redis.url) as redis, asyncio.timeout(30):
            while await redis.keys("lr:queue:*"):
                await asyncio.sleep(0.02)
            if end == signal.SIGKILL:  # one that is stopped tidies up after itself
                for response_id in (story.response_id, waiting.response_id):
                    [(_, last)] = await redis.xrevrange(keys.events(str(response_id)), count=1)
                    response = json.loads(last[b"e"])["response"]
                    assert (response["id"], response["status"]) == (response_id, "cancelled")
            assert [key for key in await redis.keys("lr:response:*") if await redis.ttl(key) == -1] == []
        await until(lambda: not worker.running)
        worker.hold(False)
        status, response = await post(http, other, BODY)
        assert status == 200
        assert answer_of(response) == undisturbed
        assert not story.ended
        assert not waiting.ended


async def test_an_unstored_response_outlives_an_outage_of_redis_shorter_than_its_grace(tmp_path: Path) -> None:
    """The front end's key is gone for a moment: nobody is cancelled by that."""
    async with cluster(tmp_path, LEASE_SECONDS=30) as (processes, http, undisturbed):
        web = processes.webs[0]
        story = Story(NAME)
        streaming = asyncio.create_task(follow(http, web, story, {**BODY, "store": False}))
        await until(lambda: story.streaming)
        redis = Redis.from_url(processes.redis.url)
        while not story.ended:
            for key in await redis.keys("lr:front:*"):
                await redis.delete(key)
            await asyncio.sleep(0.05)
        await redis.aclose()
        await streaming
        check_whole(story, undisturbed)


async def test_a_stopped_web_lets_short_streams_end(tmp_path: Path) -> None:
    async with cluster(tmp_path, DRAIN_SECONDS=20) as (processes, http, undisturbed):
        stopped, _ = processes.webs
        story = Story(NAME)
        streaming = asyncio.create_task(follow(http, stopped, story, BODY))
        await until(lambda: len(story.raw) > 10)
        await stopped.stop()
        await streaming
        check_whole(story, undisturbed)
