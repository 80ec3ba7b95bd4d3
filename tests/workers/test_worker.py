"""Workers that die, pause, drain and are woken: no job is lost, run twice at once, or left hanging."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from api.context import FLEET
from shared.redis import keys, queue
from tests.conftest import StackFactory
from tests.stack import Stack
from tests.waiting import until
from tests.wire import check_stream, reasoning_of, text_of
from workers.engine.scripted import Script, ScriptedEngine
from workers.generate import Job

VARIANT = "llamarelay/spark@q8_0"


async def test_a_job_is_started_by_its_wake_up_not_by_polling(make_stack: StackFactory) -> None:
    stack = await make_stack(poll_seconds=3600.0)
    for _ in range(3):
        assert (await stack.post(input="Hi"))[0] == 200


async def test_polling_is_the_safety_net(make_stack: StackFactory, redis: Redis) -> None:
    stack = await make_stack(poll_seconds=0.05)
    task = asyncio.create_task(stack.post(input="Hi"))
    while not task.done():  # somebody steals every wake-up
        await redis.delete(keys.wake("llamarelay/spark@q8_0"))
        await asyncio.sleep(0)
    assert (await task)[0] == 200


async def test_a_response_of_a_front_end_without_lanes_is_served(make_stack: StackFactory, redis: Redis) -> None:
    """A rolling deploy: the front end is of a version before lanes and deadlines, the worker is new."""
    stack = await make_stack(no_worker="queue")
    await stack.workers.pop().stop()
    stream = asyncio.create_task(stack.stream(input="Hi"))
    async with asyncio.timeout(30):
        while not (found := await redis.keys(keys.response("*"))):
            await asyncio.sleep(0.005)
    await redis.hdel(found[0], "lane")
    await redis.delete(*await redis.keys("lr:lane:*"), *await redis.keys("lr:owners:*"), keys.DEADLINES)
    await stack.add_worker(lambda *_: ScriptedEngine(Script("served")))
    assert text_of(check_stream(await stream)) == "served"
    assert await redis.keys("lr:queue:*") == []


async def test_jobs_beyond_the_slots_wait_and_all_end(make_stack: StackFactory) -> None:
    stack = await make_stack(slots=2, poll_seconds=3600.0)
    gate = asyncio.Event()
    stack.engine.play(*(Script(gate, str(number)) for number in range(7)))
    tasks = [asyncio.create_task(stack.post(input="Hi")) for _ in range(7)]
    await until(lambda: stack.engine.stats.running == 2)
    gate.set()
    answers = [await task for task in tasks]
    assert sorted(text_of(response) for _, response in answers) == [str(number) for number in range(7)]


async def test_a_worker_that_was_full_is_woken_again(make_stack: StackFactory) -> None:
    stack = await make_stack(slots=1, poll_seconds=3600.0)
    gate = asyncio.Event()
    stack.engine.play(Script("busy", gate))
    busy = asyncio.create_task(stack.post(input="Hi"))
    await until(lambda: stack.engine.stats.running == 1)
    waiting = asyncio.create_task(stack.post(input="Hi"))
    await asyncio.sleep(0.05)  # its wake-up has been heard, by a worker that is full
    gate.set()
    assert (await busy)[0] == (await waiting)[0] == 200
    async with asyncio.timeout(30):
        assert (await stack.post(input="Hi"))[0] == 200


async def test_two_workers_share_the_jobs(make_stack: StackFactory) -> None:
    gate = asyncio.Event()
    stack = await make_stack(workers=2, slots=4, loader=lambda *_: ScriptedEngine(Script(gate, "ok")))
    tasks = [asyncio.create_task(stack.post(input="Hi")) for _ in range(8)]
    engines = [engine for engine in stack.engines if isinstance(engine, ScriptedEngine)]
    await until(lambda: [engine.stats.running for engine in engines] == [4, 4])
    gate.set()
    assert {status for status, _ in [await task for task in tasks]} == {200}


async def test_a_job_lost_before_its_first_token_is_run_by_another_worker(make_stack: StackFactory) -> None:
    stack = await make_stack(poll_seconds=0.1)
    stack.engine.play(Script(asyncio.Event()))
    stream = asyncio.create_task(stack.stream(input="Hi"))
    await until(lambda: stack.engine.stats.running == 1)
    await freeze(stack)
    await stack.add_worker(lambda *_: ScriptedEngine(Script("from", " another")))
    events = await stream
    assert text_of(events[-1]["response"]) == "from another"
    numbers = [event["sequence_number"] for event in events]
    assert numbers == list(range(len(events)))


async def test_a_job_lost_in_the_middle_is_continued_by_another_worker(make_stack: StackFactory, redis: Redis) -> None:
    stack = await make_stack(poll_seconds=0.1)
    stack.engine.play(Script("<think>", "deep ", "thoughts", "</think>", "half", " an", asyncio.Event()))
    stream = asyncio.create_task(stack.stream(input="Hi", max_output_tokens=9))
    await until(lambda: stack.engine.stats.generated_tokens == 6)
    await until_length(redis, stack.engine.requests[-1].id, 13)
    await freeze(stack)
    engine = twin(stack.engine, Script(" answer", ".", " and", " more"))
    await stack.add_worker(lambda *_: engine)
    final = check_stream(await stream)
    assert text_of(final) == "half an answer. and"
    assert reasoning_of(final) == "deep thoughts"
    assert final["status"] == "incomplete"
    assert final["usage"]["output_tokens"] == 9
    assert final["usage"]["output_tokens_details"]["reasoning_tokens"] == 4
    [request] = engine.requests
    assert request.generated == 6
    assert request.max_tokens == 3
    first = stack.engine.requests[0]
    assert final["usage"]["input_tokens"] == len(first.tokens)
    assert list(request.tokens[: len(first.tokens)]) == list(first.tokens)


async def test_a_stopped_worker_hands_its_job_over_without_waiting_for_the_lease(make_stack: StackFactory) -> None:
    stack = await make_stack(lease_seconds=3600.0, poll_seconds=3600.0, drain_seconds=0.0)
    stack.engine.play(Script("half", " an", asyncio.Event()))
    stream = asyncio.create_task(stack.stream(input="Hi"))
    await until(lambda: stack.engine.stats.generated_tokens == 2)
    engine = twin(stack.engine, Script(" answer"))
    await stack.add_worker(lambda *_: engine)
    await stack.workers.pop(0).stop()
    assert text_of(check_stream(await stream)) == "half an answer"


async def test_a_worker_that_lost_its_lease_writes_nothing_more(make_stack: StackFactory, redis: Redis) -> None:
    stack = await make_stack(lease_seconds=5.0)
    gate = asyncio.Event()
    stack.engine.play(Script("one", gate, "zombie"))
    stream = asyncio.create_task(stack.stream(input="Hi"))
    await until(lambda: stack.engine.stats.generated_tokens == 1)
    response_id = stack.engine.requests[0].id
    await until_length(redis, response_id, 5)
    await redis.set(keys.lease(response_id), "somebody else", px=60_000)
    gate.set()
    await until(lambda: stack.engine.stats.running == 0)
    await until_idle(stack)
    assert await redis.xlen(keys.events(response_id)) == 5
    assert await redis.get(keys.lease(response_id)) == b"somebody else"
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)


async def test_a_job_claimed_while_its_worker_stops_is_handed_over(
    make_stack: StackFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases last for an hour and nobody polls: what is not given back is never run."""
    stack = await make_stack(lease_seconds=3600.0, poll_seconds=3600.0, drain_seconds=0.0)
    stack.engine.play(Script(asyncio.Event()))
    gate, claimed, claim = asyncio.Event(), asyncio.Event(), queue.claim

    async def slow_claim(*arguments: Any, **options: Any) -> queue.Claims:
        found = await claim(*arguments, **options)
        if found:
            claimed.set()
            await gate.wait()
        return found

    monkeypatch.setattr(queue, "claim", slow_claim)
    stream = asyncio.create_task(stack.stream(input="Hi"))
    await claimed.wait()
    stopping = asyncio.create_task(stack.workers.pop(0).stop())
    await asyncio.sleep(0)
    monkeypatch.setattr(queue, "claim", claim)
    await stack.add_worker(lambda *_: ScriptedEngine(Script("from another")))
    gate.set()
    await stopping
    assert text_of(check_stream(await stream)) == "from another"


async def test_suspects_wait_for_each_other_until_each_has_gone_on(make_stack: StackFactory, redis: Redis) -> None:
    """Nobody polls: the worker looks again by itself when a suspect has said something, and when one has ended."""
    stack = await make_stack(poll_seconds=3600.0, no_worker="queue")
    await stack.workers.pop().stop()
    streams = [asyncio.create_task(stack.stream(input="Hi")) for _ in range(3)]
    async with asyncio.timeout(30):
        while len(await redis.keys(keys.job("*"))) < 3:
            await asyncio.sleep(0.005)
    for lost in await queue.claim(redis, VARIANT, "lost", 3, 5000):
        await redis.set(keys.retry(lost.job_id), queue.SUSPECT_LOSSES)
        await redis.delete(keys.lease(lost.job_id))
    begin, rest, second = asyncio.Event(), asyncio.Event(), asyncio.Event()
    engine = ScriptedEngine()
    engine.play(Script(begin, "one", rest), Script("beside"), Script(second, "two"), Script("three"))
    await stack.add_worker(lambda *_: engine)
    await until(lambda: len(engine.requests) == 1)
    assert text_of((await stack.post(input="Hi"))[1]) == "beside"  # others are served
    assert len(engine.requests) == 2
    begin.set()  # it says something
    await until(lambda: len(engine.requests) == 3)
    assert not any(stream.done() for stream in streams)
    assert await redis.get(keys.retry(engine.requests[0].id)) == b"1"
    second.set()  # it ends
    rest.set()
    said = [text_of(check_stream(await stream)) for stream in streams]
    assert sorted(said) == ["one", "three", "two"]


async def test_a_draining_worker_lets_its_jobs_end(make_stack: StackFactory) -> None:
    stack = await make_stack(drain_seconds=30.0)
    gate = asyncio.Event()
    stack.engine.play(Script("one", gate, "two"))
    stream = asyncio.create_task(stack.stream(input="Hi"))
    await until(lambda: stack.engine.stats.running == 1)
    stopping = asyncio.create_task(stack.workers.pop().stop())
    await asyncio.sleep(0)
    gate.set()
    assert text_of(check_stream(await stream)) == "onetwo"
    await stopping


async def test_a_draining_worker_takes_no_new_job(make_stack: StackFactory, redis: Redis) -> None:
    stack = await make_stack(drain_seconds=30.0, workers=1)
    gate = asyncio.Event()
    stack.engine.play(Script(gate, "last"))
    stream = asyncio.create_task(stack.stream(input="Hi"))
    first = stack.engine
    await until(lambda: first.stats.running == 1)
    await stack.add_worker(lambda *_: ScriptedEngine(Script("new")))
    stopping = asyncio.create_task(stack.workers.pop(0).stop())
    await until_retired(redis, workers=1)
    assert text_of((await stack.post(input="Hi"))[1]) == "new"
    gate.set()
    await stream
    await stopping
    assert len(first.requests) == 1


@pytest.mark.usefixtures("lasting_cards")
async def test_a_draining_worker_is_announced_no_more(make_stack: StackFactory, redis: Redis) -> None:
    """Its heart beats on while its jobs end, and nobody is told: whoever comes now hears that there is no worker."""
    stack = await make_stack(drain_seconds=30.0, heartbeat_seconds=0.05)
    gate = asyncio.Event()
    stack.engine.play(Script("one", gate, "two"))
    stream = asyncio.create_task(stack.stream(input="Hi"))
    await until(lambda: stack.engine.stats.running == 1)
    worker = stack.workers.pop()
    stopping = asyncio.create_task(worker.stop())
    await until_retired(redis, workers=0)
    await asyncio.sleep(0.3)  # six heartbeats
    assert await redis.scard(keys.WORKERS) == 0
    await stack.fronts[0].app[FLEET].refresh()
    assert (await stack.post(input="Hi"))[0] == 503
    gate.set()
    assert text_of(check_stream(await stream)) == "onetwo"
    await stopping
    assert await redis.scard(keys.WORKERS) == 0


async def test_a_worker_stops_in_time_although_a_job_that_just_ended_cannot_be_written(
    make_stack: StackFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is being cancelled by its client when its worker stops goes on to write its end: not for ever."""
    stack = await make_stack(drain_seconds=0.05)
    stack.engine.play(Script("half", asyncio.Event()))
    ending, away, begun = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def rounds(job: Job) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ending.set()
            await asyncio.Event().wait()  # the second cancellation, which is the worker's, ends this
        return "stop"

    async def end(*_: object) -> bool:
        away.set()
        await asyncio.Event().wait()  # Redis does not answer
        return True

    with monkeypatch.context() as patch:
        patch.setattr(Job, "_rounds", rounds)
        patch.setattr(Job, "_end", end)
        stream = asyncio.create_task(stack.stream(input="Hi"))
        await begun.wait()
        worker = stack.workers.pop()
        (abort,) = worker._leases._aborts.values()
        abort(queue.CANCEL)
        await ending.wait()
        async with asyncio.timeout(30):
            await worker.stop()
        assert away.is_set()
    await stack.add_worker(lambda *_: twin(stack.engine, Script("from another")))
    assert text_of((await stream)[-1]["response"]) == "from another"


def twin(engine: ScriptedEngine, script: Script) -> ScriptedEngine:
    """An engine with the same vocabulary, as another worker has that loaded the same file."""
    other = ScriptedEngine(script)
    other._pieces, other._ids = list(engine._pieces), dict(engine._ids)
    return other


async def freeze(stack: Stack) -> None:
    """The worker renews no lease, sends nothing and releases nothing any more, as after kill -9; its leases lapse."""
    worker = stack.workers.pop()
    stack.frozen.append(worker)
    held = list(worker._leases._tokens)
    for job_id in held:
        await worker._leases.give_up(job_id, worker._leases.token(job_id))
    tasks = [*worker._announcers, *worker._tasks, worker._listener]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await worker._leases.close()
    await worker._outbox.close()
    await worker._redis.delete(*map(keys.lease, held))


async def until_length(redis: Redis, response_id: str, length: int) -> None:
    async with asyncio.timeout(30):
        while await redis.xlen(keys.events(response_id)) < length:
            await asyncio.sleep(0.005)


async def until_idle(stack: Stack) -> None:
    await until(lambda: stack.workers[0].running == 0)


async def until_retired(redis: Redis, workers: int) -> None:
    async with asyncio.timeout(30):
        while await redis.scard(keys.WORKERS) > workers:
            await asyncio.sleep(0.005)
