"""Too much for the workers, or no worker: refused truthfully, taken in turns, given up in time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

import openai
import pytest
from redis.asyncio import Redis

from api import creation
from api.context import CREATION, FLEET
from api.creation import Draft
from shared.redis import counting, keys, queue
from shared.schema.request import CreateResponse
from tests.api.sockets import Socket
from tests.conftest import StackFactory
from tests.stack import MODEL, Stack
from tests.waiting import until
from tests.wire import check_response, parse_sse
from tests.workers.test_worker import freeze, until_length
from workers import process
from workers.attempt import MAX_TRIES
from workers.engine.core import GenerationRequest
from workers.engine.scripted import Script, ScriptedEngine
from workers.pace import Pace

VARIANT = "llamarelay/spark@q8_0"


def paced(seconds: float) -> Pace:
    """As if a job had taken so long."""
    times = iter((0.0, seconds))
    pace = Pace(lambda: next(times, seconds))
    pace.begin("earlier")
    pace.end("earlier", done=True)
    return pace


async def busy(stack: Stack, seconds: float | None = None) -> asyncio.Event:
    """Takes the only slot until the event that is returned is set. A job is said to take so many seconds."""
    gate = asyncio.Event()
    stack.engine.play(Script(gate, "first"))
    await stack.post(input="Hi", background=True)
    await until(lambda: stack.engine.stats.running == 1)
    if seconds is not None:
        stack.workers[0]._workers[VARIANT].pace = paced(seconds)
    await stack.workers[0].announce()
    await stack.fronts[0].app[FLEET].refresh()
    return gate


async def post(stack: Stack, **fields: Any) -> tuple[int, Any, str | None]:
    """The status, the body and the Retry-After header."""
    body = {"model": MODEL, "input": "Hi", **fields}
    async with stack.http.post(stack.url + "/v1/responses", json=body) as answer:
        return answer.status, await answer.json(), answer.headers.get("Retry-After")


async def lasting(redis: Redis) -> list[bytes]:
    """The keys but for those that come and go by themselves: who is alive, and wake-ups."""
    passing = (keys.front("").encode(), keys.worker("").encode(), keys.wake("").encode())
    return sorted(key for key in await redis.keys() if not key.startswith(passing))


async def past_their_time(redis: Redis) -> None:
    """Lets the time be over that each job may wait."""
    if waiting := await redis.zrange(keys.DEADLINES, 0, -1):
        await redis.zadd(keys.DEADLINES, dict.fromkeys(waiting, 0), xx=True)


async def test_a_full_queue_is_a_429_that_says_when_there_will_be_a_place(
    make_stack: StackFactory, redis: Redis
) -> None:
    stack = await make_stack(slots=1, max_queue=2)
    gate = await busy(stack, seconds=7.5)
    waiting = [(await post(stack, background=True))[1] for _ in range(2)]
    before = await lasting(redis)
    for fields in ({}, {"stream": True}, {"background": True}, {"store": False}):
        status, body, retry = await post(stack, **fields)
        assert (status, retry) == (429, "8")  # one job has to end, which takes 7.5 s
        assert body["error"]["type"] == "rate_limit_error"
        assert body["error"]["code"] == "overloaded"
        assert body["error"]["message"].endswith("Try again in 8 s.")
    assert await lasting(redis) == before
    gate.set()
    for response in waiting:
        async with asyncio.timeout(10):
            while (await stack.get(f"/v1/responses/{response['id']}"))[1]["status"] != "completed":
                await asyncio.sleep(0.005)
    assert (await post(stack))[0] == 200


async def test_the_sdk_sees_a_rate_limit_error(make_stack: StackFactory) -> None:
    stack = await make_stack(slots=1, max_queue=1)
    gate = await busy(stack)
    await post(stack, background=True)
    async with stack.client() as client:
        with pytest.raises(openai.RateLimitError) as refused:
            await client.responses.create(model=MODEL, input="Hi")
    assert refused.value.code == "overloaded"
    socket = await Socket.open(stack)
    error = await socket.error(input="Hi")
    assert (error["status"], error["code"]) == (429, "overloaded")
    await socket.raw.close()
    gate.set()


async def test_a_wait_that_is_too_long_is_refused_except_in_the_background(make_stack: StackFactory) -> None:
    stack = await make_stack(slots=1, max_wait_seconds=25.0, background_queue_timeout_seconds=100.0)
    gate = await busy(stack, seconds=10.0)
    assert (await post(stack, background=True))[0] == 200  # waits for about 10 s
    second = asyncio.create_task(stack.stream(input="Hi"))  # for about 20 s
    redis = stack.fronts[0].app[CREATION]._redis
    async with asyncio.timeout(10):
        while await redis.zcard(keys.queue(VARIANT)) < 3:
            await asyncio.sleep(0.005)
    status, body, retry = await post(stack)  # for about 30 s: in 5 s it would be 25
    assert (status, retry) == (429, "5")
    assert "about 30 s" in body["error"]["message"]
    for _ in range(7):  # the last one for about 90 s
        assert (await post(stack, background=True))[0] == 200
    assert (await post(stack, background=True))[0] == 200
    assert (await post(stack, background=True))[0] == 429
    gate.set()
    await second


async def test_nobody_waits_where_a_slot_is_free(make_stack: StackFactory) -> None:
    stack = await make_stack(slots=2, max_wait_seconds=1.0)
    gate = await busy(stack, seconds=1000.0)
    assert (await post(stack))[0] == 200
    gate.set()


LONG = "word " * 8000  # more bytes than the context has tokens, and more tokens than it holds
FITS = "x" * 31_000  # fits, which its bytes alone do not show


async def count(stack: Stack, text: str = "Hi") -> tuple[int, Any]:
    body = {"model": MODEL, "input": text}
    async with stack.http.post(stack.url + "/v1/responses/input_tokens", json=body) as answer:
        return answer.status, await answer.json()


async def test_what_is_measured_waits_for_no_slot(make_stack: StackFactory) -> None:
    stack = await make_stack(slots=1, max_queue=1)
    gate = await busy(stack)
    assert (await count(stack))[0] == 200
    status, body, _ = await post(stack, input=LONG, background=True)
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
    status, body, _ = await post(stack, background=True)
    assert (status, body["status"]) == (200, "queued")
    assert (await count(stack))[0] == 200  # though nothing more can be queued
    gate.set()


class Measuring:
    """Workers that measure nothing until `go` is set."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.begun: list[str] = []
        self.go = asyncio.Event()
        self._really = process.count_tokens
        patch.setattr(process, "count_tokens", self)

    async def __call__(self, services: Any, model: str, request_id: str, *arguments: Any) -> None:
        self.begun.append(request_id)
        await self.go.wait()
        await self._really(services, model, request_id, *arguments)


async def waiting_counts(redis: Redis) -> set[str]:
    return {job.decode() for job in await redis.zrange(keys.queue(keys.counts(VARIANT)), 0, -1)}


async def test_a_response_is_created_unmeasured_where_no_worker_begins_to_measure_it(
    make_stack: StackFactory, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creation, "BEGIN_SECONDS", 0.0)
    measuring = Measuring(monkeypatch)
    stack = await make_stack()
    asked = [asyncio.create_task(count(stack)) for _ in range(process.COUNTS_AT_ONCE)]
    await until(lambda: len(measuring.begun) == process.COUNTS_AT_ONCE)
    status, response, _ = await post(stack, input=LONG, background=True)
    assert (status, response["status"]) == (200, "queued")
    end = (await stack.resume(response["id"]))[-1]
    assert (end["type"], end["response"]["error"]["code"]) == ("response.failed", "invalid_prompt")
    status, body, _ = await post(stack, input=LONG)
    assert (status, body["error"]["code"]) == (400, "invalid_prompt")
    assert "Shorten the input" in body["error"]["message"]
    assert (await post(stack, input=FITS))[1]["status"] == "completed"
    assert await waiting_counts(redis) == set(measuring.begun)  # the others were withdrawn
    measuring.go.set()
    assert [(await each)[0] for each in asked] == [200, 200]


async def test_a_count_that_takes_too_long_is_a_503_and_stops_no_response(
    make_stack: StackFactory, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creation, "COUNT_SECONDS", 0.2)
    measuring = Measuring(monkeypatch)
    stack = await make_stack()
    status, body = await count(stack)
    assert (status, body["error"]["code"]) == (503, "service_unavailable")
    assert (await post(stack, input=FITS))[1]["status"] == "completed"
    measuring.go.set()
    async with asyncio.timeout(10):
        while await waiting_counts(redis) or await redis.keys("arq:*"):
            await asyncio.sleep(0.005)


async def test_who_leaves_withdraws_what_was_to_be_measured(
    make_stack: StackFactory, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring = Measuring(monkeypatch)
    stack = await make_stack()
    asked = [asyncio.create_task(count(stack)) for _ in range(process.COUNTS_AT_ONCE + 1)]
    await until(lambda: len(measuring.begun) == process.COUNTS_AT_ONCE)
    async with asyncio.timeout(10):
        while len(await waiting_counts(redis)) <= process.COUNTS_AT_ONCE:
            await asyncio.sleep(0.005)
    for each in asked:
        each.cancel()
    async with asyncio.timeout(10):
        while len(await redis.keys(keys.job("count*"))) > 0:
            await asyncio.sleep(0.005)
    measuring.go.set()
    async with asyncio.timeout(10):
        while await waiting_counts(redis):
            await asyncio.sleep(0.005)
    assert len(measuring.begun) == process.COUNTS_AT_ONCE


async def test_as_many_counts_wait_as_requests_may(
    make_stack: StackFactory, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring = Measuring(monkeypatch)
    stack = await make_stack(max_queue=1)
    asked = []
    for number in range(process.COUNTS_AT_ONCE + 1):
        asked.append(asyncio.create_task(count(stack)))
        await until(lambda number=number: len(measuring.begun) == min(number + 1, process.COUNTS_AT_ONCE))  # type: ignore[misc]
    async with asyncio.timeout(10):
        while len(await waiting_counts(redis)) <= process.COUNTS_AT_ONCE:
            await asyncio.sleep(0.005)
    status, body = await count(stack)
    assert (status, body["error"]["code"]) == (429, "overloaded")
    assert (await post(stack, input=FITS))[1]["status"] == "completed"  # it is measured by nobody
    measuring.go.set()
    await asyncio.gather(*asked)


async def test_an_input_that_takes_three_workers_down_is_measured_no_more(
    make_stack: StackFactory, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = await make_stack()
    monkeypatch.setattr(counting, "new_id", lambda kind: "count_poison")
    asking: list[Callable[[], Coroutine[Any, Any, Any]]] = [lambda: count(stack), lambda: post(stack, input=FITS)]
    for ask in asking:
        await redis.set(keys.retry("count_poison"), MAX_TRIES)  # so many were lost with it
        status, body, *_ = await ask()
        assert (status, body["error"]["code"]) == (500, "server_error")
        assert "3 workers were lost while they measured this input" in body["error"]["message"]
        async with asyncio.timeout(10):
            while await waiting_counts(redis) or await redis.keys("arq:*"):
                await asyncio.sleep(0.005)
    assert stack.engine.requests == []


async def test_an_input_that_may_have_ended_a_worker_is_not_generated_either(
    make_stack: StackFactory, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creation, "COUNT_SECONDS", 0.2)
    monkeypatch.setattr(counting, "new_id", lambda kind: "count_poison")
    measuring = Measuring(monkeypatch)
    pop = queue.pop

    async def pop_behind_the_beginning(redis: Redis, names: list[str]) -> Any:
        if names == [keys.reply("count_poison")]:
            await until(lambda: bool(measuring.begun))
        return await pop(redis, names)

    monkeypatch.setattr(queue, "pop", pop_behind_the_beginning)
    stack = await make_stack()
    await redis.set(keys.retry("count_poison"), 1)
    status, body, retry = await post(stack, input=FITS)
    assert (status, body["error"]["code"], bool(retry)) == (503, "service_unavailable", True)
    assert measuring.begun
    assert stack.engine.requests == []
    measuring.go.set()


async def test_a_key_that_was_used_before_is_answered_though_the_queue_is_full(make_stack: StackFactory) -> None:
    stack = await make_stack(slots=1, max_queue=1)
    gate = await busy(stack)
    headers = {"Idempotency-Key": "k"}
    body = {"model": MODEL, "input": "Hi", "background": True}
    answers = []
    for _ in range(2):
        async with stack.http.post(stack.url + "/v1/responses", json=body, headers=headers) as answer:
            assert answer.status == 200
            answers.append((await answer.json())["id"])
    assert answers[0] == answers[1]
    gate.set()


def test_the_pace_is_the_time_of_slots_by_the_jobs_that_ended_in_it() -> None:
    now = 0.0
    pace = Pace(lambda: now)
    assert pace.seconds is None
    pace.begin("a")
    pace.begin("b")
    now = 4.0
    assert pace.seconds == 4.0  # at least
    pace.end("a", done=True)
    assert pace.seconds == 8.0  # two slots were taken for 4 s, and one job has ended
    pace.begin("c")
    now = 6.0
    pace.end("c", done=True)
    assert pace.seconds == (4 + 2 + 6) / 2
    pace.end("b", done=False)  # somebody else goes on with it
    assert pace.seconds == (4 + 2) / 2
    for number in range(100):
        pace.begin(str(number))
        now += 1.0
        pace.end(str(number), done=True)
    assert pace.seconds == 1.0


async def test_how_long_jobs_take_reaches_the_front_ends(stack: Stack) -> None:
    fleet = stack.fronts[0].app[FLEET]
    assert (fleet.capacity(VARIANT).slots, fleet.capacity(VARIANT).seconds) == (16, 0.0)
    stack.engine.play(Script(0.02, "slow"))
    await stack.post(input="Hi")
    await until(lambda: stack.workers[0].running == 0)
    await stack.workers[0].announce()
    await fleet.refresh()
    assert fleet.capacity(VARIANT).seconds >= 0.02
    assert fleet.capacity("no/model@q8_0").slots == 0


async def test_the_speeds_of_workers_add_up(make_stack: StackFactory) -> None:
    stack = await make_stack(workers=3, slots=4)
    for worker, seconds in zip(stack.workers, (2.0, 4.0), strict=False):
        worker._workers[VARIANT].pace = paced(seconds)
        await worker.announce()
    await stack.fronts[0].app[FLEET].refresh()
    capacity = stack.fronts[0].app[FLEET].capacity(VARIANT)
    assert capacity.slots == 12
    assert math.isclose(capacity.seconds, 8 / (4 / 2 + 4 / 4))  # the third is taken to be like the others
    assert math.isclose(capacity.interval, capacity.seconds / 12)


async def test_jobs_that_wait_for_something_outside_take_no_slot(stack: Stack) -> None:
    worker = stack.workers[0]
    worker._workers[VARIANT].tasks["tool"] = task = asyncio.create_task(asyncio.Event().wait())
    with worker._leases.aside("tool"):
        await worker.announce()
        await stack.fronts[0].app[FLEET].refresh()
        assert stack.fronts[0].app[FLEET].capacity(VARIANT).slots == 17
    task.cancel()


async def test_a_model_whose_workers_have_gone_is_refused_with_503(make_stack: StackFactory) -> None:
    stack = await make_stack()
    await stack.workers.pop().stop()
    await stack.fronts[0].app[FLEET].refresh()
    status, body, retry = await post(stack)
    assert (status, body["error"]["code"], bool(retry)) == (503, "no_worker", True)
    assert VARIANT in body["error"]["message"]
    assert (await post(stack, model="no/such"))[1]["error"]["code"] == "no_worker"


async def test_with_no_worker_queue_requests_wait_for_one(make_stack: StackFactory) -> None:
    stack = await make_stack(no_worker="queue")
    await stack.workers.pop().stop()
    await stack.fronts[0].app[FLEET].refresh()
    await stack.add_front()  # one that has never seen a worker
    tasks = [asyncio.create_task(post(stack)) for _ in range(2)]
    stream = asyncio.create_task(stack.stream(front=1, input="Hi"))
    redis = stack.fronts[0].app[CREATION]._redis
    async with asyncio.timeout(10):
        while await redis.zcard(keys.queue(VARIANT)) < 3:
            await asyncio.sleep(0.005)
    long = {"input": "word " * 40_000, "background": True}  # more than fits, but nobody is there who could measure it
    status, queued, _ = await post(stack, **long)
    assert (status, queued["status"]) == (200, "queued")
    assert (await post(stack, model="no/such"))[0] == 503
    await stack.add_worker(lambda *_: ScriptedEngine())
    assert [(await task)[0] for task in tasks] == [200, 200]
    assert (await stream)[-1]["type"] == "response.completed"
    events = await stack.resume(queued["id"])
    assert events[-1]["response"]["error"]["code"] == "invalid_prompt"


@pytest.mark.parametrize("workers", [0, 1])
async def test_a_response_that_waits_for_too_long_fails_for_whoever_waits_for_it(
    make_stack: StackFactory, redis: Redis, workers: int
) -> None:
    stack = await make_stack(slots=1, no_worker="queue", fronts=2)
    gate = asyncio.Event()
    if workers:
        gate = await busy(stack)
    else:
        await stack.workers.pop().stop()
        for front in stack.fronts:
            await front.app[FLEET].refresh()
    queued = (await post(stack, background=True))[1]
    body = {"model": MODEL, "input": "Hi", "background": True, "stream": True}
    followed = asyncio.create_task(read_stream(stack, body))
    all_of_them = asyncio.gather(
        read_stream(stack, {"model": MODEL, "input": "Hi", "stream": True}),
        post(stack),
        read_stream(stack, {"model": MODEL, "input": "Hi", "stream": True, "store": False}),
        stack.resume(queued["id"], front=1),
    )
    async with asyncio.timeout(30):
        while await redis.zcard(keys.queue(VARIANT)) < 5 + workers:
            await asyncio.sleep(0.005)
    await past_their_time(redis)
    streamed, waited, unstored, resumed = await all_of_them
    code = "rate_limit_exceeded" if workers else "server_error"
    for events in (streamed, unstored, resumed, await followed):
        assert events[-1]["type"] == "response.failed"
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        check_response(events[-1]["response"])
        assert events[-1]["response"]["error"]["code"] == code
        assert ("too busy" if workers else "No worker") in events[-1]["response"]["error"]["message"]
    assert waited[0] == (429 if workers else 500)
    assert waited[1]["error"]["code"] == code
    assert (await stack.get(f"/v1/responses/{queued['id']}"))[1]["status"] == "failed"
    assert await redis.zcard(keys.queue(VARIANT)) == workers  # the one that runs
    assert await redis.keys("lr:lane:*") == []
    if workers:
        gate.set()
        assert (await post(stack))[0] == 200
        assert len(stack.engine.requests) == 2
    await until_empty(redis, keys.DEADLINES)


async def test_who_waited_for_too_long_is_told_how_long_it_would_take_now(make_stack: StackFactory) -> None:
    stack = await make_stack(slots=1, queue_timeout_seconds=0.2)
    gate = await busy(stack, seconds=11.0)
    for _ in range(2):
        assert (await post(stack, background=True))[0] == 200
    status, body, retry = await post(stack)
    assert (status, body["error"]["code"], retry) == (429, "rate_limit_exceeded", "33")  # behind two others
    gate.set()


async def test_a_response_whose_worker_died_is_given_up_where_no_other_comes(
    make_stack: StackFactory, redis: Redis
) -> None:
    stack = await make_stack()
    stack.engine.play(Script("half", asyncio.Event()))
    stream = asyncio.create_task(stack.stream(input="Hi"))
    await until(lambda: stack.engine.stats.generated_tokens == 1)
    await until_length(redis, stack.engine.requests[0].id, 5)
    await freeze(stack)
    async with asyncio.timeout(30):
        while not stream.done():  # first the time to be begun with, then as long again to be taken over
            await past_their_time(redis)
            await asyncio.sleep(0.05)
    events = await stream
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "half"
    assert "was lost" in events[-1]["response"]["error"]["message"]


async def read_stream(stack: Stack, body: Any) -> list[Any]:
    async with stack.http.post(stack.url + "/v1/responses", json=body) as answer:
        return parse_sse(await answer.read())


async def until_empty(redis: Redis, key: str) -> None:
    async with asyncio.timeout(10):
        while await redis.exists(key):
            await asyncio.sleep(0.005)


async def put(stack: Stack, owner: str, text: str) -> Draft:
    creation = stack.fronts[0].app[CREATION]
    draft = await creation.draft(CreateResponse(model=MODEL, input=text, background=True), owner)
    assert await creation.create(draft) is None
    return draft


async def test_one_key_with_500_requests_does_not_starve_another_with_one(make_stack: StackFactory) -> None:
    """Four slots of two workers; each engine tells which request it began."""
    order: list[str] = []
    gates: list[asyncio.Event] = []

    def answer(request: GenerationRequest) -> Script:
        gates.append(asyncio.Event())
        order.append(request.id)
        return Script(gates[-1], "ok")

    stack = await make_stack(workers=2, slots=2, loader=lambda *_: ScriptedEngine(answer), max_wait_seconds=0.0)
    for number in range(500):
        await put(stack, "a", f"a{number}")
    await until(lambda: len(order) == 4)
    one = await put(stack, "b", "b")
    gates[0].set()
    await until(lambda: len(order) == 5)
    assert order[4] == one.record.response.id
    for gate in gates[1:]:
        gate.set()
    await until(lambda: len(order) == 9)  # and a's go on


async def test_an_owner_runs_no_more_than_its_share(make_stack: StackFactory) -> None:
    gate = asyncio.Event()
    stack = await make_stack(slots=8, loader=lambda *_: ScriptedEngine(Script(gate, "ok")))
    stack.fronts[0].app[CREATION]._share_of = {"a": 2, "b": 0}.__getitem__
    for number in range(5):
        await put(stack, "a", f"a{number}")
    for number in range(4):
        await put(stack, "b", f"b{number}")
    await until(lambda: len(stack.engine.requests) == 6)
    redis = stack.fronts[0].app[CREATION]._redis
    await stack.workers[0]._workers[VARIANT]._poll_iteration()
    claimed = await redis.hvals(keys.claimed(VARIANT))
    assert sorted(claimed) == [b"a"] * 2 + [b"b"] * 4
    gate.set()
    await until(lambda: len(stack.engine.requests) == 9)
