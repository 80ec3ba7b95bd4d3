"""Redis serves, but refuses what a response needs to end: it ends all the same, once, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.redis import event_log, keys, records
from tests.conftest import StackFactory
from tests.stack import Stack
from tests.wire import Event, check_stream, text_of
from workers.attempt import MAX_TRIES
from workers.engine.scripted import Script

VARIANT = "llamarelay/spark@q8_0"
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
LATER = ["MISCONF Redis is configured to save RDB snapshots", "OOM command not allowed", "ERR BUSY script"]


class Refusing:
    """`event_log.finish`, but that Redis refuses the first `times` calls with `message`."""

    def __init__(self, patch: pytest.MonkeyPatch, message: str, times: int) -> None:
        self._really = event_log.finish
        self._message = message
        self.left = times
        patch.setattr(event_log, "finish", self)

    async def __call__(self, *arguments: Any, **options: Any) -> bool:
        self.left -= 1
        if self.left >= 0:
            raise ResponseError(self._message)
        return await self._really(*arguments, **options)


@asynccontextmanager
async def lapsing(stack: Stack, redis: Redis) -> AsyncIterator[None]:
    """Meanwhile leases that the worker keeps no more lapse at once, and those that it keeps never do."""
    worker = stack.workers[0]._workers[VARIANT]

    async def lapse() -> None:
        while True:
            async with worker._polling:  # it claims nothing meanwhile
                if not worker._unfinished() and (left := await redis.keys(keys.LEASE_PREFIX + "*")):
                    await redis.delete(*left)
            await asyncio.sleep(0.02)

    lapses = asyncio.create_task(lapse())
    try:
        yield
    finally:
        lapses.cancel()
        await asyncio.gather(lapses, return_exceptions=True)


async def check_nothing_is_left(stack: Stack, redis: Redis) -> None:
    """Its slot, the only one, is free, and no job or lease is left."""
    assert text_of((await stack.post(input="Again"))[1]) == "ok"
    async with asyncio.timeout(30):
        while await redis.keys("lr:queue:*") + await redis.keys("arq:*") + await redis.keys("lr:claimed:*"):
            await asyncio.sleep(0.01)


def ends(events: list[Event]) -> list[str]:
    kinds = ("response.completed", "response.failed", "response.incomplete", "error")
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return [event["type"] for event in events if event["type"] in kinds]


@pytest.mark.parametrize("message", LATER)
async def test_an_end_that_is_refused_for_a_while_is_waited_for(
    make_stack: StackFactory, redis: Redis, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    stack = await make_stack(slots=1)
    Refusing(monkeypatch, message, 3)
    stack.engine.play(Script("one", " two"))
    assert text_of(check_stream(await stack.stream(input="Hi"))) == "one two"
    await check_nothing_is_left(stack, redis)


async def test_an_end_whose_script_redis_has_forgotten(stack: Stack, redis: Redis) -> None:
    gate = asyncio.Event()
    stack.engine.play(Script("one", gate))
    stream = asyncio.create_task(stack.stream(input="Hi"))
    async with asyncio.timeout(30):
        while not await redis.keys(keys.LEASE_PREFIX + "*"):
            await asyncio.sleep(0.005)
    await redis.script_flush()
    gate.set()
    assert text_of(check_stream(await stream)) == "one"


@pytest.mark.parametrize("stored", [True, False])
async def test_an_end_that_is_refused_is_a_failed_one(
    make_stack: StackFactory, redis: Redis, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    stack = await make_stack(slots=1)
    Refusing(monkeypatch, WRONG_TYPE, 1)
    stack.engine.play(Script("one", " two"))
    events = await stack.stream(input="Hi", store=stored)
    final = check_stream(events)
    assert ends(events) == ["response.failed"]
    assert final["error"]["code"] == "server_error"
    assert "one two".startswith(text_of(final))
    if stored:
        assert (await stack.get(f"/v1/responses/{final['id']}"))[1] == final
        assert await stack.resume(final["id"]) == events
    await check_nothing_is_left(stack, redis)


async def test_who_waits_without_a_stream_is_told_too(
    make_stack: StackFactory, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = await make_stack(slots=1)
    Refusing(monkeypatch, WRONG_TYPE, 1)
    status, body = await stack.post(input="Hi")
    assert (status, body["error"]["code"]) == (500, "server_error")
    await check_nothing_is_left(stack, redis)


async def test_an_end_that_is_refused_at_last_is_left_to_another_try(
    make_stack: StackFactory, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker gives neither the end nor the job away: after its lease it is tried again."""
    stack = await make_stack(slots=1, lease_seconds=60.0, poll_seconds=0.05)
    Refusing(monkeypatch, WRONG_TYPE, 2)
    async with lapsing(stack, redis):
        events = await stack.stream(input="Hi")
    check_stream(events)
    assert ends(events) == ["response.completed"]
    assert len(stack.engine.requests) == 2
    await check_nothing_is_left(stack, redis)


async def test_a_response_that_nobody_can_end_is_gone_and_its_readers_are_told(
    make_stack: StackFactory, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = await make_stack(slots=1, lease_seconds=60.0, poll_seconds=0.05)
    with monkeypatch.context() as patch:
        refusing = Refusing(patch, WRONG_TYPE, 1000)
        async with lapsing(stack, redis):
            events = await stack.stream(input="Hi")
    assert ends(events) == ["error"]
    assert events[-1]["code"] == "response_not_found"
    assert 1000 - refusing.left == 2 * (MAX_TRIES + 1)
    response_id = events[0]["response"]["id"]
    assert (await stack.get(f"/v1/responses/{response_id}"))[0] == 404
    await check_nothing_is_left(stack, redis)
    assert not await redis.exists(keys.events(response_id))


async def test_a_conversation_that_cannot_be_written_keeps_no_response_from_its_end(
    make_stack: StackFactory, redis: Redis
) -> None:
    """Redis itself refuses, in the middle of the script: the terminal event is in the log by then."""
    stack = await make_stack(slots=1)
    async with stack.http.post(stack.url + "/v1/conversations", json={}) as made:
        conversation = (await made.json())["id"]
    gate = asyncio.Event()
    stack.engine.play(Script("one", gate, " two"))
    stream = asyncio.create_task(stack.stream(input="Hi", conversation=conversation))
    async with asyncio.timeout(30):
        while stack.engine.stats.generated_tokens < 1:
            await asyncio.sleep(0.005)
    await redis.set(keys.items(conversation), "something else")
    gate.set()
    events = await stream
    final = check_stream(events)
    assert ends(events) == ["response.completed"]
    assert text_of(final) == "one two"
    assert (await stack.get(f"/v1/responses/{final['id']}"))[1] == final
    await check_nothing_is_left(stack, redis)


@pytest.mark.parametrize("field", ["request", "response", "input"])
async def test_a_record_that_this_version_cannot_read_is_given_up(
    make_stack: StackFactory, redis: Redis, field: str
) -> None:
    stack = await make_stack(slots=1, lease_seconds=60.0, poll_seconds=0.05, no_worker="queue")
    events = await unreadable(stack, redis, field)
    assert ends(events) == ["error"]
    assert events[-1]["code"] == "response_not_found"
    assert stack.engine.requests == []
    await check_nothing_is_left(stack, redis)


async def unreadable(stack: Stack, redis: Redis, field: str) -> list[Event]:
    """The stream of a response whose record becomes unreadable before a worker has it."""
    async with stack.workers[0]._workers[VARIANT]._polling:  # it takes no jobs meanwhile
        stream = asyncio.create_task(stack.stream(input="Hi"))
        async with asyncio.timeout(30):
            while not (found := await redis.keys(keys.response("*"))):
                await asyncio.sleep(0.005)
        await redis.hset(found[0], field, '[{"type": "of another version"}]')
    async with lapsing(stack, redis), asyncio.timeout(60):
        return await stream


async def test_a_job_whose_lease_was_lost_is_left_in_the_queue_though_the_lease_is_back(
    make_stack: StackFactory, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine stood still for longer than a lease lasts, just before a response was given up: what comes first then
    is told that the lease is lost, and what comes next, the renewal, takes it again."""
    stack = await make_stack(slots=1, lease_seconds=60.0, poll_seconds=0.05, no_worker="queue")
    outcomes: list[bool] = []

    async def late(client: Redis, response_id: str, token: str) -> bool:
        leases = stack.workers[0]._leases
        async with leases._renewing:
            if not outcomes:
                await redis.delete(keys.lease(response_id))
            outcomes.append(await records_discard(client, response_id, token))
        await leases._renew()
        assert await redis.get(keys.lease(response_id)) == token.encode()
        return outcomes[-1]

    records_discard = records.discard
    monkeypatch.setattr(records, "discard", late)
    events = await unreadable(stack, redis, "request")
    assert outcomes == [False, True]
    assert ends(events) == ["error"]
    assert events[-1]["code"] == "response_not_found"
    await check_nothing_is_left(stack, redis)


async def test_nobody_discards_what_another_one_runs(redis: Redis) -> None:
    await redis.hset(keys.response("resp_1"), "status", "in_progress")
    await redis.set(keys.lease("resp_1"), "another")
    assert not await records.discard(redis, "resp_1", "mine")
    assert await redis.exists(keys.response("resp_1"))
    assert await records.discard(redis, "resp_1", "another")
    assert not await redis.exists(keys.response("resp_1"))
