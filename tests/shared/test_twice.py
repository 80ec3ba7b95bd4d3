"""Every script bears to be called twice: a connection may break when Redis has run it, and redis-py sends it again.

The second call answers as the first one did, and leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.redis import conversations, event_log, keys, loads, queue, rates, records, registry, scripts
from shared.redis.conversations import ItemRepeated
from shared.redis.queue import Terms
from shared.redis.scripts import FOLDER
from shared.schema.content import InputText
from shared.schema.conversation import Conversation
from shared.schema.ids import new_id
from shared.schema.items import FunctionCall, Message
from shared.schema.response import ConversationRef, Response

MODEL = "publisher/model@q8_0"
LEASE_MS = 60_000
OWNER = "me"


class Deadlines(dict[bytes, float]):
    """Who is put off twice is put off for a moment longer: what differs by less than half a minute is the same."""

    def __eq__(self, other: object) -> bool:
        return dict(self) == pytest.approx(other, abs=30_000)


class Twice(Redis):
    """A client whose calls of one script are made twice, with a look at everything in Redis behind each."""

    script: scripts.Script | None = None  # the one

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.answers: list[tuple[Any, Any]] = []
        self.states: list[tuple[dict[str, Any], dict[str, Any]]] = []

    async def execute_command(self, *arguments: Any, **options: Any) -> Any:
        async def call() -> Any:
            return await super(Twice, self).execute_command(*arguments, **options)  # type: ignore[no-untyped-call]

        answer = await call()
        if self.script and arguments[:2] in (("EVALSHA", self.script.sha), ("EVAL", self.script.source)):
            state = await self.state()
            again = await call()
            self.answers.append((answer, again))
            self.states.append((state, await self.state()))
        return answer

    async def state(self) -> dict[str, Any]:
        """Everything there is, and whether it goes by itself."""
        found: dict[str, Any] = {}
        plain: Callable[..., Awaitable[Any]] = super().execute_command
        for key in sorted(await plain("KEYS", "*")):
            kind = await plain("TYPE", key)
            command = {
                b"string": ("GET", key),
                b"hash": ("HGETALL", key),
                b"zset": ("ZRANGE", key, 0, -1, "WITHSCORES"),
                b"list": ("LRANGE", key, 0, -1),
                b"stream": ("XRANGE", key, "-", "+"),
                b"set": ("SMEMBERS", key),
            }[kind]
            value = await plain(*command)
            if key == keys.DEADLINES.encode():
                value = Deadlines(zip(value[::2], map(float, value[1::2]), strict=True))
            found[key.decode()] = (value, await plain("PTTL", key) > 0)
        return found


Case = Callable[[Twice], Awaitable[object]]
CASES: dict[str, dict[str, Case]] = {}


def case(script: str) -> Callable[[Case], Case]:
    """A function that gets Redis ready, sets `redis.script` by `begin`, and calls it once."""

    def add(function: Case) -> Case:
        CASES.setdefault(script, {})[function.__name__] = function
        return function

    return add


@pytest.fixture
async def twice(redis: Redis, redis_url: str) -> AsyncIterator[Twice]:
    """A client of an empty Redis."""
    client = Twice.from_url(redis_url)
    await scripts.load(client)
    yield client
    await client.aclose()


NAMES = sorted(path.stem for path in FOLDER.glob("[!_]*.lua"))
BY_NAME = {name: getattr(scripts, name.upper()) for name in NAMES}


def retold(script: str, answer: Any) -> Any:
    """What the second call has to answer."""
    match script:
        case "release":  # the lease is gone: it says so, and nobody asks
            return 0
        case "rate":  # tells how long something takes yet
            return [*answer[:2], *(pytest.approx(milliseconds, abs=30_000) for milliseconds in answer[2:])]
    return answer


def begin(redis: Twice, name: str) -> None:
    """From here on this script is called twice."""
    redis.script = BY_NAME[name]


def event(number: int, text: str = "") -> bytes:
    return b'{"sequence_number":%d,"text":"%s"}' % (number, text.encode())


def message(item_id: str, text: str = "Hi") -> Message:
    return Message(id=item_id, role="user", content=[InputText(text=text)])


def call(item_id: str) -> FunctionCall:
    return FunctionCall(id=item_id, call_id=f"call_{item_id}", name="f", arguments="{}", status="completed")


async def converse(redis: Twice) -> str:
    conversation = Conversation(id=new_id("conv"), created_at=1)
    await conversations.create(redis, conversation, [message("msg_1"), call("fc_1")], OWNER, 100)
    return conversation.id


async def respond(
    redis: Twice,
    conversation: str | None = None,
    idempotency: records.Idempotency | None = None,
    ancestors: list[str] | None = None,
    **terms: Any,
) -> Response:
    """A queued response."""
    response = Response(
        id=new_id("resp"),
        created_at=1,
        status="queued",
        model=MODEL,
        temperature=1,
        top_p=1,
        conversation=ConversationRef(id=conversation) if conversation else None,
    )
    record = records.Record(
        response=response,
        generation=records.Generation(model=MODEL),
        input=[message("msg_2")] if conversation else [],
        owner=OWNER,
        ancestors=ancestors or [],
        context_bytes=0,
        opening=await conversations.read_opening(redis, conversation, OWNER) if conversation else None,
    )
    created = await records.create(redis, record, [event(0)], 100, idempotency, terms=Terms(owner=OWNER, **terms))
    assert created == records.Created()
    return response


async def claim(redis: Twice, token: str = "t", wanted: int = 9, **options: Any) -> list[str]:
    return [claim.job_id for claim in await queue.claim(redis, MODEL, token, wanted, LEASE_MS, **options)]


async def run(redis: Twice, **options: Any) -> Response:
    """A response that runs under the token `t`."""
    response = await respond(redis, **options)
    assert response.id in await claim(redis)
    response.status = "in_progress"
    await records.start(redis, response, "t")
    return response


async def finish(redis: Twice, response: Response, token: str = "t", first: int = 1, **options: Any) -> bool:
    response.status = "completed"
    events = [event(first), event(first + 1, "end")]
    return await event_log.finish(
        redis, response, MODEL, token, first, events, record_ttl_seconds=100, log_ttl_seconds=50, **options
    )


class Gathered:
    """Stands for a pipeline, to see the one call that is put into it."""

    call: tuple[Any, ...] = ()

    def evalsha(self, *arguments: Any) -> None:
        self.call = arguments


async def append(redis: Twice, response: Response, first: int, *events: bytes) -> int:
    gathered = Gathered()
    entries = [event_log.Entry(event, event_log.Progress([1], 0)) for event in events]
    event_log.queue_append(gathered, response.id, "t", first, entries)  # type: ignore[arg-type]
    return int(await redis.evalsha(*gathered.call))  # type: ignore[misc]


async def count(redis: Twice, job_id: str = "count_1", **terms: Any) -> None:
    await queue.enqueue(redis, MODEL, job_id, Terms(owner=OWNER, **terms), queue.COUNT_TOKENS, job_id)


async def lose(redis: Twice, job_id: str, times: int) -> None:
    """The worker that runs a job is lost, for the so-many-th time."""
    await redis.set(keys.retry(job_id), times, ex=1000)
    await redis.delete(keys.lease(job_id))


@case("create")
async def one_of_a_full_queue(redis: Twice) -> None:
    begin(redis, "create")
    await respond(redis, max_queue=1, share=2)


@case("create")
async def one_with_all_that_it_can_have(redis: Twice) -> None:
    conversation, parent = await converse(redis), await run(redis)
    assert await finish(redis, parent)
    begin(redis, "create")
    idempotency = records.Idempotency(key="k", digest="d", ttl_seconds=100)
    await respond(redis, conversation, idempotency, [parent.id])


@case("create")
async def one_that_is_refused(redis: Twice) -> None:
    await respond(redis)
    begin(redis, "create")
    with pytest.raises(queue.Refused):
        await respond(redis, max_queue=1)


@case("enqueue")
async def the_only_one_of_a_full_queue(redis: Twice) -> None:
    begin(redis, "enqueue")
    await count(redis, max_queue=1, share=2)


@case("enqueue")
async def a_refused_one(redis: Twice) -> None:
    await count(redis)
    begin(redis, "enqueue")
    with pytest.raises(queue.Refused):
        await count(redis, "count_2", max_queue=1)


@case("withdraw")
async def nobody_has_begun(redis: Twice) -> None:
    await count(redis)
    begin(redis, "withdraw")
    assert await queue.withdraw(redis, MODEL, "count_1", OWNER) == 0


@case("withdraw")
async def two_workers_were_lost(redis: Twice) -> None:
    await count(redis)
    await claim(redis)
    await lose(redis, "count_1", 2)
    begin(redis, "withdraw")
    assert await queue.withdraw(redis, MODEL, "count_1", OWNER) == 2


@case("withdraw")
async def a_third_one_runs_it(redis: Twice) -> None:
    await count(redis)
    await claim(redis)
    await redis.set(keys.retry("count_1"), 3, ex=1000)
    begin(redis, "withdraw")
    assert await queue.withdraw(redis, MODEL, "count_1", OWNER) == 2


@case("claim")
async def more_than_wanted(redis: Twice) -> None:
    for number in range(6):
        await count(redis, f"count_{number}", share=5)
    begin(redis, "claim")
    assert await claim(redis, wanted=4) == [f"count_{number}" for number in range(4)]


@case("claim")
async def what_was_left_and_what_runs_here(redis: Twice) -> None:
    for number in range(5):
        await count(redis, f"count_{number}")
    assert len(await claim(redis, "lost", 2)) == 2
    await lose(redis, "count_0", queue.SUSPECT_LOSSES)
    await lose(redis, "count_1", queue.SUSPECT_LOSSES)
    assert await claim(redis, "here", 1, suspects=0) == ["count_2"]
    begin(redis, "claim")
    assert await claim(redis, wanted=2, suspects=1, running=["count_2"]) == ["count_0", "count_3"]


@case("claim")
async def one_that_was_overdue(redis: Twice) -> None:
    await count(redis, timeout_ms=0)
    await claim(redis, "lost")
    await lose(redis, "count_1", 1)
    [overdue] = await queue.overdue(redis, 9)
    assert not await queue.expire(redis, overdue, "web", 5000, 600_000)
    begin(redis, "claim")
    assert await claim(redis) == ["count_1"]


@case("claim")
async def nothing(redis: Twice) -> None:
    begin(redis, "claim")
    assert await claim(redis) == []


@case("claim")
async def of_a_front_end_without_lanes(redis: Twice) -> None:
    await redis.set(keys.job("old"), queue.definition(queue.GENERATE, "old"), px=queue.JOB_TTL_MS)
    await redis.zadd(keys.queue(MODEL), {"old": 1})
    begin(redis, "claim")
    assert await claim(redis) == ["old"]


@case("renew")
async def held_cancelled_and_lost(redis: Twice) -> None:
    held, cancelled, lapsed = await run(redis), await run(redis), await run(redis)
    await records.cancel(redis, cancelled.id, OWNER, "web", LEASE_MS)
    await redis.delete(keys.lease(lapsed.id))
    begin(redis, "renew")
    found = await queue.renew(redis, {held.id: "t", cancelled.id: "t", lapsed.id: "t", "none": "t"}, LEASE_MS)
    assert list(found.values()) == [queue.HELD, queue.CANCEL, queue.HELD, queue.LOST]


@case("append")
async def the_next_events(redis: Twice) -> None:
    response = await run(redis)
    begin(redis, "append")
    assert await append(redis, response, 1, event(1), event(2)) == queue.HELD


@case("append")
async def to_a_cancelled_one(redis: Twice) -> None:
    response = await run(redis)
    await records.cancel(redis, response.id, OWNER, "web", LEASE_MS)
    begin(redis, "append")
    assert await append(redis, response, 1, event(1)) == queue.CANCEL


@case("append")
async def behind_a_hole(redis: Twice) -> None:
    response = await run(redis)
    begin(redis, "append")
    assert event_log.cut(await append(redis, response, 4, event(4))) == 1


@case("checkpoint")
async def a_checkpoint(redis: Twice) -> None:
    response = await run(redis)
    begin(redis, "checkpoint")
    checkpoint = records.Checkpoint(events=1, items=0, tokens=[], started=["mcp_1"])
    assert await records.check_in(redis, response.id, "t", checkpoint)


@case("start")
async def a_queued_one(redis: Twice) -> None:
    response = await respond(redis)
    await claim(redis)
    response.status = "in_progress"
    begin(redis, "start")
    await records.start(redis, response, "t")


@case("set_back")
async def one_that_lost_two_workers(redis: Twice) -> None:
    response = await run(redis)
    await redis.set(keys.retry(response.id), 3, ex=1000)
    begin(redis, "set_back")
    assert await queue.set_back(redis, response.id, "t")
    assert await redis.hget(keys.response(response.id), "set_backs") == b"1"  # type: ignore[misc]


@case("set_back")
async def for_the_last_time(redis: Twice) -> None:
    response = await run(redis)
    await redis.hset(keys.response(response.id), "set_backs", str(queue.SET_BACKS - 1))  # type: ignore[misc]
    await redis.set(keys.retry(response.id), 3, ex=1000)
    begin(redis, "set_back")
    assert await queue.set_back(redis, response.id, "t")


@case("finish")
async def a_response(redis: Twice) -> None:
    response = await run(redis)
    begin(redis, "finish")
    assert await finish(redis, response)


@case("finish")
async def one_that_holds_its_conversation(redis: Twice) -> None:
    conversation = await converse(redis)
    response = await run(redis, conversation=conversation)
    begin(redis, "finish")
    assert await finish(redis, response, turn=[message("msg_2"), message("msg_3")])
    assert (await conversations.read_opening(redis, conversation, OWNER)).before == 4


@case("finish")
async def one_that_was_deleted(redis: Twice) -> None:
    response = await run(redis)
    assert await records.delete(redis, response.id, OWNER, "web", LEASE_MS)
    begin(redis, "finish")
    assert await finish(redis, response)


@case("finish")
async def of_which_events_are_there_already(redis: Twice) -> None:
    response = await run(redis)
    assert await append(redis, response, 1, event(1)) == queue.HELD
    begin(redis, "finish")
    assert await finish(redis, response)


@case("finish")
async def of_another_one(redis: Twice) -> None:
    """Another token does not find its own end there."""
    response = await run(redis)
    begin(redis, "finish")
    assert await finish(redis, response)
    assert not await finish(redis, response, "another")


@case("release")
async def given_back(redis: Twice) -> None:
    response = await run(redis)
    await redis.set(keys.retry(response.id), 2, ex=1000)
    begin(redis, "release")
    assert await queue.release(redis, MODEL, response.id, "t", done=False)


@case("release")
async def done(redis: Twice) -> None:
    await count(redis)
    await claim(redis)
    begin(redis, "release")
    assert await queue.release(redis, MODEL, "count_1", "t", done=True)


@case("discard")
async def a_running_one(redis: Twice) -> None:
    response = await run(redis)
    begin(redis, "discard")
    assert await records.discard(redis, response.id, "t")


@case("cancel")
async def nobody_runs_it(redis: Twice) -> None:
    response = await respond(redis)
    begin(redis, "cancel")
    assert await records.cancel(redis, response.id, OWNER, "web", LEASE_MS) == ("queued", True)


@case("cancel")
async def a_worker_runs_it(redis: Twice) -> None:
    response = await run(redis)
    begin(redis, "cancel")
    assert await records.cancel(redis, response.id, OWNER, "web", LEASE_MS) == ("in_progress", False)


@case("cancel")
async def it_has_ended(redis: Twice) -> None:
    response = await run(redis)
    assert await finish(redis, response)
    begin(redis, "cancel")
    assert await records.cancel(redis, response.id, OWNER, "web", LEASE_MS) == ("completed", False)
    assert await records.cancel(redis, response.id, "another", "web", LEASE_MS) is None


@case("delete")
async def it_waits(redis: Twice) -> None:
    response = await respond(redis)
    begin(redis, "delete")
    assert await records.delete(redis, response.id, OWNER, "web", LEASE_MS) == (True,)
    assert await records.delete(redis, response.id, OWNER, "another call", LEASE_MS) is None


@case("delete")
async def it_runs(redis: Twice) -> None:
    response = await run(redis)
    begin(redis, "delete")
    assert await records.delete(redis, response.id, OWNER, "web", LEASE_MS) == (False,)
    assert await records.delete(redis, response.id, OWNER, "another call", LEASE_MS) is None


@case("delete")
async def it_is_over(redis: Twice) -> None:
    response = await run(redis)
    assert await finish(redis, response)
    begin(redis, "delete")
    assert await records.delete(redis, response.id, OWNER, "web", LEASE_MS) == (False,)
    assert await records.delete(redis, response.id, OWNER, "another call", LEASE_MS) is None


@case("delete")
async def it_is_somebody_elses(redis: Twice) -> None:
    response = await run(redis)
    begin(redis, "delete")
    assert await records.delete(redis, response.id, "another", "web", LEASE_MS) is None


@case("overdue")
async def two_of_three(redis: Twice) -> None:
    for number, timeout in enumerate((0, 60_000, 0)):
        await count(redis, f"count_{number}", timeout_ms=timeout)
    begin(redis, "overdue")
    assert len(await queue.overdue(redis, 9)) == 2


async def expire(redis: Twice, *, lost: bool = False) -> bool:
    [job] = await queue.overdue(redis, 9)
    if lost:
        assert not await queue.expire(redis, job, "web", 5000, 0)
        [job] = await queue.overdue(redis, 9)
        assert job.lost
    begin(redis, "expire")
    return await queue.expire(redis, job, "web", 5000, 600_000)


@case("expire")
async def nobody_took_it(redis: Twice) -> None:
    await count(redis, timeout_ms=0)
    assert await expire(redis)


@case("expire")
async def somebody_runs_it(redis: Twice) -> None:
    await count(redis, timeout_ms=0)
    await claim(redis)
    assert not await expire(redis)


@case("expire")
async def its_worker_was_lost(redis: Twice) -> None:
    await count(redis, timeout_ms=0)
    await claim(redis)
    await lose(redis, "count_1", 1)
    assert not await expire(redis)


@case("expire")
async def nobody_took_it_over(redis: Twice) -> None:
    await count(redis, timeout_ms=0)
    await claim(redis)
    await lose(redis, "count_1", 1)
    assert await expire(redis, lost=True)


@case("expire")
async def it_is_done(redis: Twice) -> None:
    await count(redis, timeout_ms=0)
    await redis.delete(keys.queue(MODEL))
    assert not await expire(redis)


@case("context")
async def a_chain(redis: Twice) -> None:
    response = await run(redis, conversation=await converse(redis))
    begin(redis, "context")
    assert await records.read_context(redis, response.id)


@case("workers")
async def one_is_gone(redis: Twice) -> None:
    for name in ("there", "gone"):
        await registry.announce(redis, registry.WorkerCard(id=name, models=[], running=0, slots=1), 100)
    await redis.delete(keys.worker("gone"))
    begin(redis, "workers")
    assert [card.id for card in await registry.live_workers(redis)] == ["there"]


@case("lost_loads")
async def two_of_one_host(redis: Twice) -> None:
    for worker in ("one", "two"):
        await loads.sign(redis, "file", worker)
    begin(redis, "lost_loads")
    await loads.count_lost(redis, "file", [("one", "host"), ("two", "host")])
    [found] = await loads.read(redis, ["file"])
    assert found.lost == {"host": 1}


@case("rate")
async def counted(redis: Twice) -> None:
    await rates.take(redis, "name", "earlier", 2)
    begin(redis, "rate")
    assert (await rates.take(redis, "name", "this", 2)).wait_ms is None


@case("conversation_create")
async def a_conversation(redis: Twice) -> None:
    begin(redis, "conversation_create")
    await converse(redis)


@case("conversation_update")
async def metadata(redis: Twice) -> None:
    conversation = await converse(redis)
    begin(redis, "conversation_update")
    await conversations.update(redis, conversation, OWNER, {"a": "b"}, 100)


@case("conversation_delete")
async def whole(redis: Twice) -> None:
    conversation = await converse(redis)
    begin(redis, "conversation_delete")
    await conversations.delete(redis, conversation, OWNER)
    with pytest.raises(conversations.ConversationGone):
        await conversations.delete(redis, conversation, OWNER)  # another call


@case("conversation_delete")
async def somebody_elses(redis: Twice) -> None:
    conversation = await converse(redis)
    begin(redis, "conversation_delete")
    with pytest.raises(conversations.ConversationGone):
        await conversations.delete(redis, conversation, "another")


@case("conversation_add")
async def items(redis: Twice) -> None:
    conversation = await converse(redis)
    begin(redis, "conversation_add")
    await conversations.add(redis, conversation, OWNER, [message("msg_2"), call("fc_2")], 100)


@case("conversation_add")
async def one_that_is_there(redis: Twice) -> None:
    conversation = await converse(redis)
    begin(redis, "conversation_add")
    with pytest.raises(ItemRepeated):
        await conversations.add(redis, conversation, OWNER, [message("msg_1", "other")], 100)


@case("conversation_remove")
async def an_item(redis: Twice) -> None:
    conversation = await converse(redis)
    begin(redis, "conversation_remove")
    await conversations.remove(redis, conversation, OWNER, call("fc_1"), 100)


@case("conversation_page")
async def a_page(redis: Twice) -> None:
    conversation = await converse(redis)
    begin(redis, "conversation_page")
    options = {"limit": 1, "newest_first": True, "after": None}
    assert len(await conversations.read_page(redis, conversation, OWNER, **options) or ()) == 2  # type: ignore[arg-type]


@case("conversation_items")
async def all_items(redis: Twice) -> None:
    opening = await conversations.read_opening(redis, await converse(redis), OWNER)
    begin(redis, "conversation_items")
    assert len(await conversations.read_items(redis, opening)) == 2


def test_every_script_has_a_case() -> None:
    assert set(CASES) == set(NAMES)


@pytest.mark.parametrize(("script", "name"), [(script, name) for script in CASES for name in CASES[script]])
async def test_a_script_called_twice_does_and_says_what_it_does_once(twice: Twice, script: str, name: str) -> None:
    await CASES[script][name](twice)
    assert twice.script is BY_NAME[script], "the case did not begin"
    assert twice.answers, "the case did not call its script"
    for once, again in twice.answers:
        assert again == retold(script, once)
    for once, again in twice.states:
        assert again == once


async def test_a_retried_change_of_items_is_done_though_a_response_has_come_between(twice: Twice) -> None:
    conversation, added = await converse(twice), [message("msg_3")]
    await conversations.add(twice, conversation, OWNER, added, 100)
    await conversations.remove(twice, conversation, OWNER, call("fc_1"), 100)
    await respond(twice, conversation)
    await conversations.add(twice, conversation, OWNER, added, 100)
    await conversations.remove(twice, conversation, OWNER, call("fc_1"), 100)
    with pytest.raises(conversations.ConversationHeld):
        await conversations.add(twice, conversation, OWNER, [message("msg_4")], 100)
    with pytest.raises(conversations.ConversationHeld):
        await conversations.remove(twice, conversation, OWNER, message("msg_1"), 100)


async def test_a_retried_deletion_is_done_though_its_worker_has_ended_the_response_between(twice: Twice) -> None:
    response = await run(twice)
    assert await records.delete(twice, response.id, OWNER, "web", LEASE_MS) == (False,)
    assert await finish(twice, response)
    assert await records.delete(twice, response.id, OWNER, "web", LEASE_MS) == (False,)
    assert await twice.keys(f"lr:response:{response.id}") == []


async def test_who_cancels_again_has_all_the_time_to_end_it(twice: Twice) -> None:
    response = await respond(twice)
    assert await records.cancel(twice, response.id, OWNER, "web", 10_000) == ("queued", True)
    assert await records.cancel(twice, response.id, OWNER, "web", LEASE_MS) == ("queued", True)
    assert await twice.pttl(keys.lease(response.id)) > 10_000


async def test_what_a_retried_claim_brings_leaves_room_for_what_has_come_between(twice: Twice) -> None:
    await count(twice)
    assert await claim(twice, wanted=2) == ["count_1"]
    for number in (2, 3):
        await count(twice, f"count_{number}")
    assert await claim(twice, wanted=2) == ["count_1", "count_2"]
    assert await claim(twice, "another") == ["count_3"]
