"""Redis has done what it was asked for, and its answer is lost with the connection: clients and jobs notice nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from cli.embedded_redis import EmbeddedRedis
from shared.redis import keys, scripts
from shared.redis.connection import TRIES
from tests.api.conversing import call
from tests.proxy import Proxy
from tests.stack import Stack, test_settings
from tests.waiting import until
from tests.wire import check_stream, text_of
from tests.workers.test_outages import Make, direct, proxy
from workers.engine.scripted import Script, ScriptedEngine

__all__ = ["direct", "proxy"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A Redis with a port."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis"), port=0, append_only=False) as server:
        yield server


@pytest.fixture
async def make(proxy: Proxy, direct: Redis) -> AsyncIterator[Make]:
    """A front end and a worker that reach Redis through the proxy. Nothing but a wake-up makes the worker look for
    jobs, and no lease of its lapses, so that nothing is mended by itself."""
    stacks: list[Stack] = []
    await direct.flushall()

    async def make(**changes: Any) -> Stack:
        changes = {"poll_seconds": 3600.0, "lease_seconds": 3600.0, "no_worker": "queue"} | changes
        stack = Stack(test_settings(proxy.redis_url, **changes))
        stacks.append(stack)
        await stack.add_worker(lambda *_: ScriptedEngine())
        await stack.add_front()
        return stack

    yield make
    proxy.heal()
    for stack in stacks:
        await stack.stop()


async def begun(stack: Stack, state: str) -> str:
    """A response that waits for a worker while there is none, that runs, or that has ended."""
    if state == "waits":
        await stack.workers.pop().stop()
    stack.engine.play(Script("one", *([asyncio.Event()] if state == "runs" else [])))
    response_id: str = (await stack.post(input="Hi", background=state != "ended"))[1]["id"]
    if state == "runs":
        await until(lambda: stack.engine.stats.generated_tokens == 1)
    return response_id


async def no_job_is_left(direct: Redis) -> None:
    async with asyncio.timeout(10):
        while await direct.keys("lr:queue:*") + await direct.keys("arq:*") + await direct.keys("lr:lane:*"):
            await asyncio.sleep(0.005)
    assert await direct.exists(keys.DEADLINES) == 0


@pytest.mark.parametrize("state", ["waits", "runs", "ended"])
async def test_of_a_deletion(make: Make, proxy: Proxy, direct: Redis, state: str) -> None:
    stack = await make()
    response_id = await begun(stack, state)
    lost = proxy.swallow(scripts.DELETE.sha.encode())
    async with stack.http.delete(f"{stack.url}/v1/responses/{response_id}") as answer:
        assert (answer.status, (await answer.json())["deleted"]) == (200, True)
    assert lost.is_set()
    await no_job_is_left(direct)
    assert not await direct.exists(keys.response(response_id))
    async with stack.http.delete(f"{stack.url}/v1/responses/{response_id}") as again:
        assert again.status == 404


@pytest.mark.parametrize(("state", "status"), [("waits", "cancelled"), ("runs", "cancelled"), ("ended", "completed")])
async def test_of_a_cancellation(make: Make, proxy: Proxy, direct: Redis, state: str, status: str) -> None:
    stack = await make()
    response_id = await begun(stack, state)
    lost = proxy.swallow(scripts.CANCEL.sha.encode())
    async with stack.http.post(f"{stack.url}/v1/responses/{response_id}/cancel") as answer:
        assert (answer.status, (await answer.json())["status"]) == (200, status)
    assert lost.is_set()
    await no_job_is_left(direct)


async def test_of_the_deletion_of_a_conversation(make: Make, proxy: Proxy, direct: Redis) -> None:
    stack = await make()
    _, made = await call(stack, "POST", "", {"items": [{"role": "user", "content": "Hi"}]})
    lost = proxy.swallow(scripts.CONVERSATION_DELETE.sha.encode())
    assert (await call(stack, "DELETE", f"/{made['id']}"))[0] == 200
    assert lost.is_set()
    assert (await call(stack, "DELETE", f"/{made['id']}"))[0] == 404
    assert await direct.exists(*(key(made["id"]) for key in (keys.conversation, keys.order, keys.items))) == 0


async def test_of_the_decision_on_an_overdue_job(make: Make, proxy: Proxy, direct: Redis) -> None:
    stack = await make()
    response_id = await begun(stack, "waits")
    lost = proxy.swallow(scripts.EXPIRE.sha.encode())
    [entry] = await direct.zrange(keys.DEADLINES, 0, -1)
    await direct.zadd(keys.DEADLINES, {entry: 0})
    await no_job_is_left(direct)
    assert lost.is_set()
    assert (await stack.get(f"/v1/responses/{response_id}"))[1]["status"] == "failed"


@pytest.mark.parametrize("script", [scripts.CREATE, scripts.CLAIM, scripts.APPEND, scripts.FINISH])
async def test_of_what_a_response_is_made_with(
    make: Make, proxy: Proxy, direct: Redis, script: scripts.Script, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = await make()
    stack.engine.play(Script("one", " two"))
    lost = proxy.swallow(script.sha.encode())
    assert text_of(check_stream(await stack.stream(input="Hi"))) == "one two"
    assert lost.is_set()
    await no_job_is_left(direct)
    await until(lambda: stack.workers[0].running == 0)
    assert len(stack.engine.requests) == 1
    assert "lease_lost" not in capsys.readouterr().out


async def test_of_the_cancellation_for_a_client_that_has_left(make: Make, proxy: Proxy, direct: Redis) -> None:
    """More answers are lost than redis-py tries to get: the chore is done again, and finds the lease that it took."""
    stack = await make()
    await stack.workers.pop().stop()
    stream = asyncio.create_task(stack.stream(input="Hi"))
    async with asyncio.timeout(10):
        while not (made := await direct.keys(keys.response("*"))):
            await asyncio.sleep(0.005)
    lost = proxy.swallow(scripts.CANCEL.sha.encode(), 1 + TRIES)
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)
    await no_job_is_left(direct)
    assert lost.is_set()
    assert await direct.hget(made[0], "status") == b"cancelled"  # type: ignore[misc]
