"""The log's promises in Redis itself: one writer, contiguous numbers, atomic ends."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from shared.redis import event_log, keys, queue, records, scripts
from shared.schema.ids import new_id
from shared.schema.response import Response

MODEL = "publisher/model@q8_0"
LEASE_MS = 60_000  # none runs out by itself


def events(first: int, count: int) -> list[bytes]:
    return [b'{"type":"response.output_text.delta","sequence_number":%d}' % n for n in range(first, first + count)]


async def create(redis: Redis, **fields: object) -> Response:
    response = Response(
        id=new_id("resp"), created_at=1, status="in_progress", model=MODEL, temperature=1, top_p=1, **fields
    )  # type: ignore[arg-type]
    record = records.Record(
        response=response,
        generation=records.Generation(model=MODEL),
        input=[],
        owner="me",
        ancestors=[],
        context_bytes=0,
    )
    assert await records.create(redis, record, events(0, 1), 100) == records.Created()
    return response


async def append(redis: Redis, response_id: str, token: str, first: int, batch: list[bytes]) -> int:
    async with redis.pipeline(transaction=False) as pipeline:
        event_log.queue_append(pipeline, response_id, token, first, [event_log.Entry(event) for event in batch])
        [outcome] = await pipeline.execute()
    return int(outcome)


async def finish(redis: Redis, response: Response, token: str, first: int, batch: list[bytes]) -> bool:
    return await event_log.finish(
        redis, response, MODEL, token, first, batch, record_ttl_seconds=100, log_ttl_seconds=50
    )


async def wish(redis: Redis, response_id: str) -> records.Cancellation | None:
    return await records.cancel(redis, response_id, "me", "canceller", 1000)


@pytest.fixture
async def running(redis: Redis) -> Response:
    """A response claimed with the token `mine`."""
    await scripts.load(redis)
    response = await create(redis)
    claims = await queue.claim(redis, MODEL, "mine", 10, LEASE_MS)
    assert [claim.job_id for claim in claims] == [response.id]
    return response


async def test_only_the_lease_holder_can_append(redis: Redis, running: Response) -> None:
    assert await append(redis, running.id, "mine", 1, events(1, 2)) == queue.HELD
    assert await append(redis, running.id, "zombie", 3, events(3, 1)) == queue.LOST
    await redis.set(keys.lease(running.id), "another")
    assert await append(redis, running.id, "mine", 3, events(3, 1)) == queue.LOST
    assert await finish(redis, running, "mine", 3, events(3, 1)) is False
    assert await event_log.read(redis, running.id, 0) == events(0, 3)


async def test_a_lapsed_lease_is_taken_again_by_who_wrote_last(redis: Redis, running: Response) -> None:
    await redis.delete(keys.lease(running.id))  # before the first event: nobody has written at all
    assert await append(redis, running.id, "mine", 1, events(1, 1)) == queue.HELD
    assert await redis.get(keys.lease(running.id)) == b"mine"
    assert await redis.pttl(keys.lease(running.id)) > 0
    await redis.delete(keys.lease(running.id))
    assert await queue.renew(redis, {running.id: "mine"}, LEASE_MS) == {running.id: queue.HELD}
    assert await queue.claim(redis, MODEL, "other", 10, LEASE_MS) == []
    await redis.delete(keys.lease(running.id))
    assert await finish(redis, running, "mine", 2, events(2, 1)) is True
    assert await redis.exists(keys.lease(running.id)) == 0


async def test_a_zombie_takes_no_lease_from_which_another_has_written(redis: Redis, running: Response) -> None:
    assert await append(redis, running.id, "mine", 1, events(1, 1)) == queue.HELD
    await redis.delete(keys.lease(running.id))
    await queue.claim(redis, MODEL, "other", 10, LEASE_MS)
    assert await append(redis, running.id, "mine", 2, events(2, 1)) == queue.LOST
    assert await append(redis, running.id, "other", 2, events(2, 1)) == queue.HELD
    assert await queue.release(redis, MODEL, running.id, "other", done=False) is True
    # now nobody holds it, and still the first one may not: the log is not what it knows
    assert await append(redis, running.id, "mine", 2, events(2, 4)) == queue.LOST
    assert await queue.renew(redis, {running.id: "mine"}, LEASE_MS) == {running.id: queue.LOST}
    assert await finish(redis, running, "mine", 2, events(2, 1)) is False
    assert await redis.exists(keys.lease(running.id)) == 0
    assert await event_log.length(redis, running.id) == 3


async def test_a_zombie_takes_no_lease_of_a_job_that_has_ended(redis: Redis, running: Response) -> None:
    await append(redis, running.id, "mine", 1, events(1, 1))
    await redis.set(keys.lease(running.id), "canceller")
    assert await finish(redis, running, "canceller", 2, events(2, 1)) is True
    assert await append(redis, running.id, "mine", 2, events(2, 4)) == queue.LOST
    assert await queue.renew(redis, {running.id: "mine"}, LEASE_MS) == {running.id: queue.LOST}
    assert await finish(redis, running, "mine", 2, events(2, 1)) is False
    assert await event_log.length(redis, running.id) == 3
    assert await redis.exists(keys.lease(running.id)) == 0


async def test_a_job_given_back_has_cost_no_try(redis: Redis, running: Response) -> None:
    await redis.set(keys.retry(running.id), 1)
    assert await queue.release(redis, MODEL, running.id, "mine", done=False) is True
    assert await redis.get(keys.retry(running.id)) == b"0"


async def test_a_repeated_append_changes_nothing(redis: Redis, running: Response) -> None:
    await append(redis, running.id, "mine", 1, events(1, 3))
    await append(redis, running.id, "mine", 1, events(1, 3))
    await append(redis, running.id, "mine", 2, events(2, 4))
    assert await event_log.read(redis, running.id, 0) == events(0, 6)


async def test_a_hole_cannot_be_made(redis: Redis, running: Response) -> None:
    assert event_log.cut(await append(redis, running.id, "mine", 2, events(2, 1))) == 1
    with pytest.raises(event_log.LogCut) as error:
        await finish(redis, running, "mine", 5, events(5, 1))
    assert error.value.length == 1
    assert await event_log.read(redis, running.id, 0) == events(0, 1)
    assert await redis.get(keys.lease(running.id)) == b"mine"


async def test_the_end_may_follow_what_cannot_be_restored(redis: Redis, running: Response) -> None:
    done = await event_log.finish(
        redis, running, MODEL, "mine", 5, events(5, 1), record_ttl_seconds=100, log_ttl_seconds=50, torn=True
    )
    assert done
    assert await event_log.read(redis, running.id, 1) == events(5, 1)


async def test_an_append_publishes_the_same_bytes(redis: Redis, running: Response) -> None:
    async with redis.pubsub() as pubsub:
        channels = (keys.events_channel(running.id), keys.end_channel(running.id))
        await pubsub.subscribe(*channels)
        async with asyncio.timeout(30):
            for _ in channels:
                assert (await anext(pubsub.listen()))["type"] == "subscribe"
            await append(redis, running.id, "mine", 1, events(1, 2))
            await finish(redis, running, "mine", 3, events(3, 2))
            messages = []
            async for message in pubsub.listen():
                if message["type"] == "message":
                    messages.append(message)
                if len(messages) == 3:
                    break
    assert [event_log.decode_batch(m["data"]) for m in messages[:2]] == [(1, events(1, 2)), (3, events(3, 2))]
    assert messages[2]["data"] == events(4, 1)[0]


async def test_the_end_is_one_step(redis: Redis, running: Response) -> None:
    running.status = "completed"
    assert await finish(redis, running, "mine", 1, events(1, 1)) is True
    assert await redis.zcard(keys.queue(MODEL)) == 0
    assert await redis.exists(keys.lease(running.id), keys.job(running.id), keys.retry(running.id)) == 0
    assert await records.read_end(redis, running.id) == (True, await redis.hget(keys.response(running.id), "response"))
    assert 0 < await redis.ttl(keys.response(running.id)) <= 100
    assert 0 < await redis.ttl(keys.events(running.id)) <= 50
    assert await finish(redis, running, "mine", 2, events(2, 1)) is False


async def test_a_wish_to_cancel_is_told_with_the_next_append_and_renewal(redis: Redis, running: Response) -> None:
    assert await wish(redis, running.id) == ("in_progress", False)
    assert await append(redis, running.id, "mine", 1, events(1, 1)) == queue.CANCEL
    assert await queue.renew(redis, {running.id: "mine"}, LEASE_MS) == {running.id: queue.CANCEL}
    assert await queue.renew(redis, {running.id: "other"}, LEASE_MS) == {running.id: queue.LOST}


async def test_cancelling_a_finished_response_changes_nothing(redis: Redis, running: Response) -> None:
    running.status = "completed"
    await finish(redis, running, "mine", 1, events(1, 1))
    assert await wish(redis, running.id) == ("completed", False)
    assert await redis.hexists(keys.response(running.id), "cancel") is False
    assert await wish(redis, "resp_none") is None
    assert await records.cancel(redis, running.id, "somebody", "t", 1000) is None


async def test_a_job_is_claimed_by_one(redis: Redis) -> None:
    await scripts.load(redis)
    made = {(await create(redis)).id for _ in range(20)}
    claims = await asyncio.gather(*(queue.claim(redis, MODEL, f"w{n}", 3, LEASE_MS) for n in range(10)))
    taken = [claim.job_id for found in claims for claim in found]
    assert len(taken) == len(set(taken)) == 20
    assert set(taken) == made


async def test_a_lapsed_lease_is_claimed_again(redis: Redis, running: Response) -> None:
    assert await queue.claim(redis, MODEL, "other", 10, LEASE_MS) == []
    await redis.delete(keys.lease(running.id))
    assert [claim.job_id for claim in await queue.claim(redis, MODEL, "other", 10, LEASE_MS)] == [running.id]
    assert await queue.release(redis, MODEL, running.id, "mine", done=True) is False
    assert await queue.release(redis, MODEL, running.id, "other", done=False) is True
    assert [claim.job_id for claim in await queue.claim(redis, MODEL, "third", 10, LEASE_MS)] == [running.id]


async def test_creating_twice_is_creating_once(redis: Redis) -> None:
    await scripts.load(redis)
    response = await create(redis)
    record = records.Record(
        response=response,
        generation=records.Generation(model=MODEL),
        input=[],
        owner="me",
        ancestors=[],
        context_bytes=0,
    )
    assert await records.create(redis, record, events(0, 1), 100) == records.Created()
    assert await event_log.length(redis, response.id) == 1
    assert await redis.llen(keys.wake(MODEL)) == 1


async def test_every_key_has_a_time_to_live_or_goes_with_its_job(redis: Redis, running: Response) -> None:
    for key in await redis.keys():
        name = key.decode()
        assert await redis.ttl(key) > 0 or name == keys.DEADLINES, name


async def test_scripts_survive_a_redis_that_forgot_them(redis: Redis, running: Response) -> None:
    await redis.script_flush()
    assert await wish(redis, running.id) == ("in_progress", False)
    await redis.script_flush()
    assert await queue.renew(redis, {running.id: "mine"}, LEASE_MS) == {running.id: queue.CANCEL}
