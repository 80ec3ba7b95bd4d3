"""Redis goes away, comes back, forgets, is full or read-only: streams are exact, new requests are told, nobody dies."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from api import websocket
from cli.embedded_redis import EmbeddedRedis
from shared.redis import event_log, keys
from shared.schema.events import is_terminal
from tests.api.sockets import Socket
from tests.proxy import Proxy
from tests.stack import MODEL, Stack, test_settings
from tests.waiting import until
from tests.wire import Event, check_stream, parse_sse, text_of
from tests.workers.test_worker import freeze, twin
from workers.engine.scripted import Script, ScriptedEngine
from workers.outbox import Stream

Make = Callable[..., Awaitable[Stack]]
CARD_MS = 60_000


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A Redis of its own for each test, with a port, because it is stopped and filled here."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis"), port=0) as server:
        yield server


@pytest.fixture
async def proxy(server: EmbeddedRedis) -> AsyncIterator[Proxy]:
    assert server.port
    async with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def direct(server: EmbeddedRedis) -> AsyncIterator[Redis]:
    """The server itself, whatever the proxy does."""
    async with Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
async def make(server: EmbeddedRedis, proxy: Proxy) -> AsyncIterator[Make]:
    """A front end and workers that reach Redis through the proxy; with `front_only` the front end alone does."""
    stacks: list[Stack] = []

    async def make(*, workers: int = 1, front_only: bool = False, **changes: Any) -> Stack:
        changes = {"redis_timeout_seconds": 2.0, "lease_seconds": 1.0, "poll_seconds": 0.2} | changes
        stack = Stack(test_settings(server.url if front_only else proxy.redis_url, **changes))
        stacks.append(stack)
        for _ in range(workers):
            await stack.add_worker(lambda *_: ScriptedEngine())
        stack.settings = dataclasses.replace(stack.settings, redis_url=proxy.redis_url)
        await stack.add_front()
        return stack

    yield make
    proxy.heal()
    for stack in stacks:
        await stack.stop()


async def streaming(stack: Stack, *steps: Any) -> tuple[asyncio.Task[list[dict[str, Any]]], str]:
    """A stream that has got as far as the first step, and the id of its response."""
    asked = len(stack.engine.requests)
    stack.engine.play(Script(*steps))
    stream = asyncio.create_task(stack.stream(input="Hi"))
    await until(lambda: len(stack.engine.requests) > asked and stack.engine.stats.generated_tokens > 0)
    return stream, stack.engine.requests[-1].id


async def lease_is_gone(direct: Redis, response_id: str) -> None:
    async with asyncio.timeout(30):
        while await direct.exists(keys.lease(response_id)):
            await asyncio.sleep(0.01)


async def log_holds(direct: Redis, response_id: str, events: int) -> None:
    async with asyncio.timeout(30):
        while await direct.xlen(keys.events(response_id)) < events:
            await asyncio.sleep(0.005)


async def forget(direct: Redis, response_id: str, length: int) -> None:
    """Makes a log as short as it was, as a Redis does that comes back without its last writes."""
    log = await direct.xrange(keys.events(response_id), count=length)
    async with direct.pipeline(transaction=True) as pipeline:
        pipeline.delete(keys.events(response_id))
        for number, fields in log:
            pipeline.xadd(keys.events(response_id), fields, id=number)
        await pipeline.execute()


@pytest.mark.parametrize("fault", ["cut", "hang"])
async def test_a_stream_goes_on_after_an_outage_longer_than_the_lease(
    make: Make, proxy: Proxy, direct: Redis, fault: str
) -> None:
    stack = await make()
    gate, end = asyncio.Event(), asyncio.Event()
    stream, response_id = await streaming(stack, "one", gate, " two", " three", end, " four")
    await log_holds(direct, response_id, 5)
    proxy.cut() if fault == "cut" else proxy.hang()
    gate.set()
    await until(lambda: stack.engine.stats.generated_tokens == 3)
    await lease_is_gone(direct, response_id)
    assert await direct.xlen(keys.events(response_id)) == 5
    proxy.heal(drop=fault == "hang")
    await log_holds(direct, response_id, 7)
    end.set()
    assert text_of(check_stream(await stream)) == "one two three four"
    assert len(stack.engine.requests) == 1, "the worker took its lease again, so nothing was generated twice"


async def test_a_response_ends_during_an_outage(make: Make, proxy: Proxy, direct: Redis) -> None:
    stack = await make()
    gate = asyncio.Event()
    stream, response_id = await streaming(stack, "one", gate, " two")
    await log_holds(direct, response_id, 5)
    proxy.cut()
    gate.set()
    await until(lambda: stack.engine.stats.running == 0)
    await lease_is_gone(direct, response_id)
    proxy.heal()
    final = check_stream(await stream)
    assert text_of(final) == "one two"
    assert (await stack.get(f"/v1/responses/{response_id}"))[1] == final
    assert len(stack.engine.requests) == 1


async def asked(socket: Socket, stack: Stack, *steps: Any, **fields: Any) -> list[Event]:
    """What a WebSocket has sent when the first step has come, in a stream of these steps."""
    stack.engine.play(Script(*steps))
    await socket.create(input="Hi", store=False, **fields)
    events = [await socket.receive()]
    while events[-1]["type"] != "response.output_text.delta":
        events.append(await socket.receive())
    return events


async def continued(socket: Socket, **fields: Any) -> list[Event]:
    """A stream that begins as soon as the front end has seen that Redis serves again."""
    async with asyncio.timeout(20):
        while (events := await socket.ask(**fields))[0].get("error", {}).get("code") == "redis_unreachable":
            await asyncio.sleep(0.05)
    return events


async def nothing_is_left(direct: Redis) -> None:
    async with asyncio.timeout(20):
        while [key async for key in direct.scan_iter("lr:response:*")]:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("fault", ["cut", "hang"])
async def test_an_unstored_websocket_stream_goes_on_after_an_outage_and_can_be_continued(
    make: Make, proxy: Proxy, fault: str
) -> None:
    stack = await make(lease_seconds=30.0)
    socket = await Socket.open(stack)
    parent: dict[str, Any] = {}
    for turn in range(2):
        gate = asyncio.Event()
        events = await asked(socket, stack, f"one{turn}", gate, " two", **parent)
        proxy.cut() if fault == "cut" else proxy.hang()
        gate.set()
        await until(lambda: stack.engine.stats.running == 0)
        proxy.heal(drop=True)
        final = check_stream([*events, *await socket.rest()])
        assert text_of(final) == f"one{turn} two"
        parent = {"previous_response_id": final["id"]}
        await served_again(stack)
    check_stream(await continued(socket, input="Q", store=False, **parent))
    shown = stack.engine.text(stack.engine.requests[-1].tokens)
    assert [shown.count(text) for text in ("one0 two", "one1 two")] == [1, 1]
    await socket.close()


@pytest.mark.parametrize("fault", ["cut", "hang"])
async def test_a_websocket_is_told_the_end_while_redis_is_away_and_can_go_on_from_it(
    make: Make, proxy: Proxy, direct: Redis, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The front end hears of the end, and from then on of nothing: neither that nor what it remembers needs Redis."""

    def seen(event: bytes) -> bool:
        if is_terminal(event):
            proxy.cut()
        return is_terminal(event)

    stack = await make(front_only=True, lease_seconds=30.0)
    socket = await Socket.open(stack)
    gate = asyncio.Event()
    events = await asked(socket, stack, "one", gate, " two")
    if fault == "hang":
        proxy.hang(replies=False)  # what is published still arrives
    else:
        monkeypatch.setattr(websocket, "is_terminal", seen)
    gate.set()
    final = check_stream([*events, *await socket.rest()])
    assert text_of(final) == "one two"
    assert await direct.exists(keys.response(final["id"]))
    monkeypatch.undo()
    proxy.heal(drop=True)
    check_stream(await continued(socket, input="Q", store=False, previous_response_id=final["id"]))
    assert "one two" in stack.engine.text(stack.engine.requests[-1].tokens)
    await nothing_is_left(direct)
    await socket.close()


@pytest.mark.parametrize("fault", ["cut", "hang"])
async def test_new_requests_are_told_to_come_again(make: Make, proxy: Proxy, fault: str) -> None:
    stack = await make()
    proxy.cut() if fault == "cut" else proxy.hang()
    for _ in range(2):
        async with stack.http.post(stack.url + "/v1/responses", json={"model": MODEL, "input": "Hi"}) as answer:
            assert answer.status == 503
            assert (await answer.json())["error"]["code"] == "redis_unreachable"
            assert int(answer.headers["Retry-After"]) > 0
    assert (await stack.get("/readyz"))[0] == 503
    assert (await stack.get("/v1/responses/resp_1"))[0] == 503
    proxy.heal(drop=True)
    await served_again(stack)


async def served_again(stack: Stack) -> None:
    async with asyncio.timeout(30):
        while (answer := await stack.post(input="Hi"))[0] != 200:
            assert answer[0] == 503
            await asyncio.sleep(0.05)


async def test_lost_answers_repeat_nothing(make: Make, proxy: Proxy, direct: Redis) -> None:
    """Redis does what it is told, and nobody hears of it: everything is told again."""
    stack = await make()
    gate = asyncio.Event()
    stream, response_id = await streaming(stack, "one", gate, " two", " three")
    await log_holds(direct, response_id, 5)
    proxy.hang(requests=False)
    gate.set()
    await log_holds(direct, response_id, 6)
    proxy.heal(drop=True)
    assert text_of(check_stream(await stream)) == "one two three"


async def test_a_full_buffer_makes_the_generation_wait(
    make: Make, proxy: Proxy, direct: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsent: list[int] = []
    send = Stream.send

    def watched(stream: Stream, *arguments: Any) -> None:
        send(stream, *arguments)
        unsent.append(len(stream._waiting) + len(stream._in_flight))

    monkeypatch.setattr(Stream, "send", watched)
    stack = await make(outbox_events=10)
    gate = asyncio.Event()
    words = [f" {number}" for number in range(100)]
    stream, response_id = await streaming(stack, "0", gate, *words)
    await log_holds(direct, response_id, 5)
    proxy.cut()
    gate.set()
    await until(lambda: stack.engine.stats.generated_tokens == 101)
    await until(lambda: max(unsent) >= 10)
    assert await direct.xlen(keys.events(response_id)) == 5
    proxy.heal()
    assert text_of(check_stream(await stream)) == "0" + "".join(words)
    assert max(unsent) == 10


async def test_what_redis_forgot_is_sent_again(make: Make, direct: Redis) -> None:
    """A Redis killed without its last second, or a replica that took over a little behind: the log got shorter."""
    stack = await make()
    gate = asyncio.Event()
    stream, response_id = await streaming(stack, "one", " two", " three", gate, " four", " five")
    await log_holds(direct, response_id, 7)
    await forget(direct, response_id, 4)
    gate.set()
    final = check_stream(await stream)
    assert text_of(final) == "one two three four five"
    assert await stack.resume(response_id) == await stream
    assert len(stack.engine.requests) == 1


async def test_an_end_sends_again_what_redis_forgot(make: Make, direct: Redis) -> None:
    stack = await make()
    gate = asyncio.Event()
    stream, response_id = await streaming(stack, "one", " two", gate)
    await log_holds(direct, response_id, 6)
    await forget(direct, response_id, 4)
    gate.set()
    final = check_stream(await stream)
    assert text_of(final) == "one two"
    assert await stack.resume(response_id) == await stream


async def test_what_cannot_be_restored_ends_clearly(make: Make, direct: Redis) -> None:
    stack = await make(outbox_events=2)
    gate = asyncio.Event()
    stream, response_id = await streaming(stack, "one", " two", " three", gate, " four", asyncio.Event())
    await log_holds(direct, response_id, 7)
    await forget(direct, response_id, 1)
    gate.set()
    events = await stream
    assert [event["sequence_number"] for event in events[:7]] == list(range(7))
    assert events[-1]["type"] == "response.failed"
    assert "lost" in events[-1]["response"]["error"]["message"]
    await served_again(stack)


async def test_a_reader_ahead_of_what_is_left_gets_the_end(make: Make, direct: Redis) -> None:
    """The log has lost its tail and its worker with it: the next one ends at a number that the client has seen."""
    stack = await make(lease_seconds=3600.0)
    words = [f" {number}" for number in range(12)]
    stack.engine.play(Script("one", *words, asyncio.Event()))
    async with stack.http.post(
        stack.url + "/v1/responses", json={"model": MODEL, "input": "Hi", "stream": True}
    ) as answer:
        received = b""
        while b'"delta":" 11"' not in received:
            received += await answer.content.readany()
        response_id = stack.engine.requests[0].id
        await freeze(stack)
        await forget(direct, response_id, 5)
        engine = twin(stack.engine, Script("."))
        await stack.add_worker(lambda *_: engine)
        async with asyncio.timeout(20):
            events = parse_sse(received + await answer.read())
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.completed"
    assert text_of(events[-1]["response"]) == "one."
    kept = await stack.resume(response_id)
    assert len(kept) < len(events)
    assert events[-1]["response"] == check_stream(kept)


async def test_a_response_that_redis_has_lost_ends_with_an_error(make: Make, direct: Redis) -> None:
    stack = await make()
    gate = asyncio.Event()
    stream, _ = await streaming(stack, "one", gate, " two")
    await direct.flushall()
    gate.set()
    events = await stream
    assert events[-1]["type"] == "error"
    assert events[-1]["code"] == "response_not_found"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    await until(lambda: stack.workers[0].running == 0)
    await served_again(stack)


async def test_nothing_is_taken_for_a_lost_worker_that_only_waited(make: Make, proxy: Proxy, direct: Redis) -> None:
    """Two workers come back from the same outage; the one with room leaves the other its jobs."""
    stack = await make(workers=2)
    gate = asyncio.Event()
    for engine in stack.engines:
        engine.play(*(Script("one", gate, " two") for _ in range(2)))  # type: ignore[attr-defined]
    streams = [asyncio.create_task(stack.stream(input="Hi")) for _ in range(2)]
    await until(lambda: sum(engine.stats.generated_tokens for engine in stack.engines) == 2)
    ids = [request.id for engine in stack.engines for request in engine.requests]  # type: ignore[attr-defined]
    for response_id in ids:
        await log_holds(direct, response_id, 5)
    proxy.cut()
    for response_id in ids:
        await lease_is_gone(direct, response_id)
    proxy.heal()
    gate.set()
    for stream in streams:
        assert text_of(check_stream(await stream)) == "one two"
    assert sum(len(engine.requests) for engine in stack.engines) == 2  # type: ignore[attr-defined, misc]


@pytest.mark.usefixtures("lasting_cards")
async def test_a_redis_without_memory_is_waited_for(make: Make, direct: Redis) -> None:
    stack = await make(heartbeat_seconds=0.3)
    gate = asyncio.Event()
    stream, response_id = await streaming(stack, "one", gate, " two")
    await log_holds(direct, response_id, 5)
    await direct.config_set("maxmemory", "1mb")
    await direct.config_set("maxmemory-policy", "noeviction")
    gate.set()
    async with stack.http.post(stack.url + "/v1/responses", json={"model": MODEL, "input": "Hi"}) as answer:
        assert answer.status == 503
        assert (await answer.json())["error"]["code"] == "redis_full"
        assert int(answer.headers["Retry-After"]) > 0
    await until(lambda: stack.engine.stats.running == 0)
    assert await direct.xlen(keys.events(response_id)) == 5
    assert not stream.done()
    card = keys.worker(stack.workers[0].id)
    await direct.pexpire(card, CARD_MS)
    async with asyncio.timeout(30):  # a full Redis takes no new card: the old one lives longer with each heartbeat
        while await direct.pttl(card) <= CARD_MS:
            await asyncio.sleep(0.01)
    assert (await stack.get("/readyz"))[0] == 200
    await direct.config_set("maxmemory", "0")
    assert text_of(check_stream(await stream)) == "one two"
    await served_again(stack)
    assert len({request.id for request in stack.engine.requests}) == len(stack.engine.requests)


async def test_a_redis_that_is_read_only_is_waited_for(make: Make, direct: Redis) -> None:
    stack = await make(lease_seconds=3600.0)
    gate = asyncio.Event()
    stream, response_id = await streaming(stack, "one", gate, " two")
    await log_holds(direct, response_id, 5)
    # nobody is there: it keeps its data and takes no writes
    await direct.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]
    gate.set()
    async with stack.http.post(stack.url + "/v1/responses", json={"model": MODEL, "input": "Hi"}) as answer:
        assert answer.status == 503
        assert (await answer.json())["error"]["code"] == "redis_read_only"
    await until(lambda: stack.engine.stats.running == 0)
    assert not stream.done()
    await direct.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]
    assert text_of(check_stream(await stream)) == "one two"
    await served_again(stack)


async def test_a_client_that_leaves_during_an_outage_frees_its_slot(make: Make, proxy: Proxy, direct: Redis) -> None:
    stack = await make()
    stream, response_id = await streaming(stack, "one", asyncio.Event())
    await log_holds(direct, response_id, 5)
    proxy.cut()
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)
    await lease_is_gone(direct, response_id)
    proxy.heal()
    await until(lambda: stack.engine.stats.running == 0)
    async with asyncio.timeout(30):
        while (await stack.get(f"/v1/responses/{response_id}"))[1].get("status") != "cancelled":
            await asyncio.sleep(0.01)


async def test_a_worker_stops_during_an_outage(make: Make, proxy: Proxy, direct: Redis) -> None:
    stack = await make(drain_seconds=0.1)
    stream, response_id = await streaming(stack, "one", asyncio.Event())
    await log_holds(direct, response_id, 5)
    proxy.cut()
    async with asyncio.timeout(30):
        await stack.workers.pop().stop()
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)


async def test_a_front_end_and_a_worker_may_start_before_redis(make: Make, proxy: Proxy) -> None:
    proxy.cut()
    stack = await make(workers=0)
    assert (await stack.get("/healthz"))[0] == 200
    assert (await stack.post(input="Hi"))[0] == 503
    starting = asyncio.create_task(stack.add_worker(lambda *_: ScriptedEngine()))
    await until(lambda: proxy.accepted > 5)
    assert not starting.done()
    proxy.heal()
    await starting
    await served_again(stack)


async def test_an_append_that_redis_refuses_ends_the_response(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an outage, and no lost lease either: its job may not just vanish and leave the client waiting."""
    stack = await make()
    gate = asyncio.Event()
    stream, _ = await streaming(stack, "half", gate, " more", asyncio.Event())

    def refused(pipeline: Any, *_: Any) -> None:
        pipeline.execute_command("LPUSH", "only-a-key")

    monkeypatch.setattr(event_log, "queue_append", refused)
    gate.set()
    final = check_stream(await stream)
    assert final["status"] == "failed"
    assert final["error"]["code"] == "server_error"
    assert text_of(final) == "half more"
