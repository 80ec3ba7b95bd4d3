"""A response that is deleted at any moment of its life: its readers get one end, and nothing is left of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.redis import event_log, keys, records
from tests.conftest import StackFactory
from tests.stack import Stack
from tests.waiting import until
from tests.wire import Event, check_stream, parse_sse, text_of
from tests.workers.test_worker import freeze, until_length
from workers.engine.scripted import Script

END = ("response.completed", "response.incomplete", "response.failed", "error")
DELETED_LOG_SECONDS = 60  # how long those who follow a deleted response can still read its end


class Gate:
    """Holds up the calls of an async function, before or behind what it does, once it is `closed`."""

    def __init__(self, module: Any, name: str, patch: pytest.MonkeyPatch, *, behind: bool = False) -> None:
        self.reached, self._open, self._behind = asyncio.Event(), asyncio.Event(), behind
        self._really: Callable[..., Awaitable[Any]] = getattr(module, name)
        patch.setattr(module, name, self)

    async def __call__(self, *arguments: Any, **options: Any) -> Any:
        done = await self._really(*arguments, **options) if self._behind else None
        self.reached.set()
        await self._open.wait()
        return done if self._behind else await self._really(*arguments, **options)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
async def stack(make_stack: StackFactory) -> Stack:
    """Two front ends and a worker with one slot, which polls so seldom that only what wakes it gets anything done."""
    return await make_stack(fronts=2, slots=1, poll_seconds=3600.0, no_worker="queue")


@asynccontextmanager
async def followed(stack: Stack, redis: Redis) -> AsyncIterator[tuple[str, list[asyncio.Task[list[Event]]]]]:
    """A new response, the stream of who has asked for it, and one at another front end."""
    before = set(await redis.keys(keys.response("*")))
    streams = [asyncio.create_task(stack.stream(input="Hi"))]
    async with asyncio.timeout(10):
        while not (made := set(await redis.keys(keys.response("*"))) - before):
            await asyncio.sleep(0.005)
    response_id = made.pop().decode().removeprefix(keys.response(""))
    resumed = asyncio.Event()
    streams.append(asyncio.create_task(resume(stack, response_id, resumed)))
    await resumed.wait()
    try:
        yield response_id, streams
    finally:
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)


async def resume(stack: Stack, response_id: str, begun: asyncio.Event) -> list[Event]:
    async with stack.http.get(f"{stack.fronts[1].url}/v1/responses/{response_id}?stream=true") as answer:
        assert answer.status == 200
        begun.set()
        return parse_sse(await answer.read())


async def delete(stack: Stack, response_id: str) -> None:
    async with stack.http.delete(f"{stack.fronts[1].url}/v1/responses/{response_id}") as answer:
        assert answer.status == 200
        assert (await answer.json())["deleted"] is True


async def check_ended(streams: list[asyncio.Task[list[Event]]], kind: str, status: str) -> Event:
    async with asyncio.timeout(10):
        first, second = await asyncio.gather(*streams)
    assert [event["sequence_number"] for event in first] == list(range(len(first)))
    if first[1]["type"] == "response.in_progress":
        check_stream(first)
    final: Event = first[-1]["response"]
    assert [event["type"] for event in first if event["type"] in END] == [kind]
    assert final["status"] == status
    assert second == first
    return final


async def check_gone(stack: Stack, redis: Redis, response_id: str) -> None:
    """Neither the response nor its job is there, and the worker's only slot is free."""
    assert (await stack.get(f"/v1/responses/{response_id}"))[0] == 404
    async with stack.http.delete(f"{stack.url}/v1/responses/{response_id}") as again:
        assert again.status == 404
    stack.engine.play(Script("next"))
    assert text_of((await stack.post(input="Next"))[1]) == "next"
    async with asyncio.timeout(10):
        while await redis.keys("lr:queue:*") + await redis.keys("arq:*"):
            await asyncio.sleep(0.005)
    left = {key.decode() for key in await redis.keys(f"*{response_id}*")}
    assert left <= {keys.events(response_id), keys.deleted(response_id)}
    for key in left:
        assert 0 < await redis.ttl(key) <= DELETED_LOG_SECONDS
    for pattern in ("lr:lane:*", "lr:owners:*", "lr:claimed:*", keys.DEADLINES):
        assert await redis.keys(pattern) == [], pattern


async def test_while_no_worker_is_there(stack: Stack, redis: Redis) -> None:
    engine = stack.engine
    await stack.workers.pop().stop()
    async with followed(stack, redis) as (response_id, streams):
        await delete(stack, response_id)
        await check_ended(streams, "response.incomplete", "cancelled")
    assert await redis.keys("lr:queue:*") + await redis.keys("arq:*") + await redis.keys("lr:lane:*") == []
    await stack.add_worker(lambda *_: engine)
    engine.closed = False
    await check_gone(stack, redis, response_id)
    assert len(engine.requests) == 1


async def test_while_it_waits_for_a_slot(stack: Stack, redis: Redis) -> None:
    gate = asyncio.Event()
    stack.engine.play(Script("busy", gate))
    busy = asyncio.create_task(stack.stream(input="Hi"))
    await until(lambda: stack.engine.stats.running == 1)
    async with followed(stack, redis) as (response_id, streams):
        await delete(stack, response_id)
        await check_ended(streams, "response.incomplete", "cancelled")
    assert not busy.done()
    gate.set()
    assert text_of(check_stream(await busy)) == "busy"
    await check_gone(stack, redis, response_id)
    assert len(stack.engine.requests) == 2  # the busy one and the next


@pytest.mark.parametrize("behind", [False, True])
async def test_when_a_worker_has_claimed_it(
    stack: Stack, redis: Redis, monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    """Before, or right after the worker has read what it is to do."""
    stack.engine.play(Script("half", asyncio.Event()))
    with monkeypatch.context() as patch:
        gate = Gate(records, "read_context", patch, behind=behind)
        async with followed(stack, redis) as (response_id, streams):
            await gate.reached.wait()
            await delete(stack, response_id)
            gate.open()
            await check_ended(streams, "response.incomplete", "cancelled")
    await until(lambda: stack.workers[0].running == 0)
    stack.engine._scripts.clear()
    await check_gone(stack, redis, response_id)


async def test_in_the_middle(stack: Stack, redis: Redis) -> None:
    stack.engine.play(Script("one", " two", asyncio.Event()))
    async with followed(stack, redis) as (response_id, streams):
        await until_length(redis, response_id, 6)
        await delete(stack, response_id)
        assert text_of(await check_ended(streams, "response.incomplete", "cancelled")) == "one two"
    await check_gone(stack, redis, response_id)
    assert stack.engine.cancelled == [response_id]


async def test_between_the_last_token_and_the_end(stack: Stack, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.engine.play(Script("one", " two"))
    with monkeypatch.context() as patch:
        gate = Gate(event_log, "finish", patch)
        async with followed(stack, redis) as (response_id, streams):
            await gate.reached.wait()
            await delete(stack, response_id)
            assert (await stack.get(f"/v1/responses/{response_id}"))[0] == 404
            gate.open()
            assert text_of(await check_ended(streams, "response.completed", "completed")) == "one two"
    await check_gone(stack, redis, response_id)


async def test_right_after_the_end(stack: Stack, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker has written the end and does not know it yet."""
    stack.engine.play(Script("one", " two"))
    with monkeypatch.context() as patch:
        gate = Gate(event_log, "finish", patch, behind=True)
        async with followed(stack, redis) as (response_id, streams):
            await gate.reached.wait()
            await check_ended(streams, "response.completed", "completed")
            await delete(stack, response_id)
            gate.open()
    await check_gone(stack, redis, response_id)
    assert not await redis.exists(keys.events(response_id))


async def test_when_its_worker_was_lost(make_stack: StackFactory, redis: Redis) -> None:
    """Nobody runs it, and nobody has noticed yet."""
    stack = await make_stack(fronts=2, slots=1, no_worker="queue")
    stack.engine.play(Script("one", " two", asyncio.Event()))
    async with followed(stack, redis) as (response_id, streams):
        await until_length(redis, response_id, 6)
        engine = stack.engine
        await freeze(stack)
        await delete(stack, response_id)
        assert text_of(await check_ended(streams, "response.incomplete", "cancelled")) == "one two"
    await stack.add_worker(lambda *_: engine)
    await check_gone(stack, redis, response_id)


async def test_deleted_and_cancelled_at_once(stack: Stack, redis: Redis) -> None:
    stack.engine.play(Script("one", " two", asyncio.Event()))
    async with followed(stack, redis) as (response_id, streams):
        await until_length(redis, response_id, 6)
        cancel = stack.http.post(f"{stack.url}/v1/responses/{response_id}/cancel")
        async with cancel as cancelled, asyncio.timeout(10):
            await delete(stack, response_id) if cancelled.status == 200 else None
        assert cancelled.status == 200
        await check_ended(streams, "response.incomplete", "cancelled")
    await check_gone(stack, redis, response_id)
