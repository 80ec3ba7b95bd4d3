"""Many clients that come and go leave nothing behind: no memory, no file descriptors, no keys without an end."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import random
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import pytest
from redis.asyncio import Redis

from api.context import CREATION, FLEET, REDIS, RELAY, STREAMS
from shared.redis import keys
from tests.api.sockets import Socket
from tests.conftest import StackFactory
from tests.stack import MODEL, Front, Stack
from tests.waiting import until
from workers.engine.core import EngineFailed
from workers.engine.scripted import Script, ScriptedEngine

CONNECTIONS = 10_000  # each with an HTTP request
STREAMS_DROPPED = 2_000  # besides, each with a generation that is cancelled
AT_ONCE = 50
SEED = 7
QUEUES = ("llamarelay/spark@q8_0", keys.counts("llamarelay/spark@q8_0"))


def place(front: Front) -> tuple[str, int]:
    host, _, port = front.url.removeprefix("http://").partition(":")
    return host, int(port)


def said(method: str, path: str, body: bytes = b"", *headers: bytes) -> bytes:
    lines = [b"%s %s HTTP/1.1" % (method.encode(), path.encode()), b"Host: x", b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*lines, *headers, b"", body])


SOCKET = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: " + b"A" * 22 + b"==",
)
REQUESTS = [
    said("GET", "/v1/models"),
    said("GET", "/v1/models/nobody"),
    said("GET", "/healthz"),
    said("GET", "/readyz"),
    said("GET", "/nowhere"),
    said("PUT", "/v1/responses"),
    said("GET", "/v1/responses/resp_1"),
    said("GET", "/v1/responses/resp_1?stream=true"),
    said("GET", "/v1/responses/resp_1/input_items"),
    said("DELETE", "/v1/responses/resp_1"),
    said("POST", "/v1/responses/resp_1/cancel"),
    said("GET", "/v1/conversations/conv_1"),
    said("POST", "/v1/responses", b"{"),
    said("POST", "/v1/responses", b'{"model": "nobody", "input": "Hi"}'),
    said("POST", "/v1/responses", b'{"model": "llamarelay/spark", "input": "Hi", "previous_response_id": "resp_1"}'),
    said("POST", "/v1/responses/input_tokens", b'{"input": []}'),
    said("GET", "/v1/responses", b"", *SOCKET),
    said("GET", "/v1/models") * 3,
]
"""What takes no slot: answered from memory, from Redis, or with an error."""


async def ask_and_leave(front: Front, chance: random.Random) -> None:
    """Leaves without the answer, in the middle of it, or with all of it; with half a request, too, and with none."""
    reader, writer = await asyncio.open_connection(*place(front))
    request = chance.choice(REQUESTS)
    writer.write(request[: chance.choice([len(request)] * 8 + [0, 8, len(request) - 1])])
    with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
        async with asyncio.timeout(chance.choice([0, 0.001, 0.02])):
            await reader.read(chance.choice([1, 100, 5000]))
    leave(writer, chance)


async def stream_and_leave(front: Front, chance: random.Random) -> None:
    """Begins a stream and leaves before it, in the middle of it, or at its end."""
    reader, writer = await asyncio.open_connection(*place(front))
    body = {"model": MODEL, "input": "Hi", "stream": True, "store": chance.random() < 0.5}
    encoded = json.dumps(body).encode()
    writer.write(b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(encoded) + encoded)
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        await reader.readexactly(chance.choice([0, 1, 300, 1500, 3000, 6000]))
    leave(writer, chance)


def leave(writer: asyncio.StreamWriter, chance: random.Random) -> None:
    if chance.random() < 0.5:  # RST instead of FIN
        writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """pytest keeps what is logged: that would be the leak."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


async def flood(kind: Any, front: Front, count: int, chance: random.Random) -> None:
    for _ in range(0, count, AT_ONCE):
        await asyncio.gather(*(kind(front, chance) for _ in range(AT_ONCE)))


async def at_rest(stack: Stack, redis: Redis) -> dict[str, int]:
    """What this process holds when nobody is there any more."""
    front = stack.fronts[0]
    server = front.runner.server
    assert server is not None
    async with asyncio.timeout(60):
        while (
            server.connections
            or stack.workers[0].running
            or len(front.app[STREAMS].readers)
            or front.app[RELAY]._readers
            or await redis.exists(*map(keys.queue, QUEUES), *map(keys.wake, QUEUES))  # a worker empties its own list
        ):
            await asyncio.sleep(0.02)
    stack.engine.requests.clear()
    gc.collect()
    pools = [front.app[REDIS].connection_pool, stack.workers[0]._redis.connection_pool]
    pooled = [connection for pool in pools for connection in (*pool._available_connections, *pool._in_use_connections)]
    assert len(pooled) < 4 * AT_ONCE  # as many as were in use at once
    connected = sum(connection.is_connected for connection in pooled)  # not so where an answer was not waited for
    return {
        "descriptors": len(os.listdir("/proc/self/fd")) - connected,
        "tasks": len(asyncio.all_tasks()),
        "objects": len(gc.get_objects()),
        "confirmations": len(front.app[RELAY]._confirmations),
        "leases": len(await redis.keys(keys.LEASE_PREFIX + "*")),
    }


def check_same(before: dict[str, int], after: dict[str, int], *, count: int) -> None:
    """Python's own caches and the pools of connections to Redis grow a little, but not with each of `count`."""
    grown = {name: after[name] - before[name] for name in before}
    assert grown["objects"] < count, grown
    assert max(grown["descriptors"], grown["tasks"], grown["confirmations"], grown["leases"]) < 4, grown


async def test_ten_thousand_requests_leave_nothing_behind(stack: Stack, redis: Redis) -> None:
    chance = random.Random(SEED)
    await flood(ask_and_leave, stack.fronts[0], 1000, chance)
    before, found = await at_rest(stack, redis), set(await redis.keys())
    await flood(ask_and_leave, stack.fronts[0], CONNECTIONS, chance)
    check_same(before, await at_rest(stack, redis), count=CONNECTIONS // 5)
    passing = (b"lr:reply:", b"lr:front:", b"lr:worker:")  # live for a minute, or come again as long as somebody lives
    assert {key for key in await redis.keys() if not key.startswith(passing)} <= found
    await check_keys(redis)
    assert (await stack.post(input="Hi"))[0] == 200


async def test_thousands_of_dropped_streams_leave_nothing_behind(make_stack: StackFactory, redis: Redis) -> None:
    stack = await make_stack(loader=lambda *_: ScriptedEngine(Script(*(f" {n}" for n in range(20)))), slots=64)
    chance = random.Random(SEED)
    await flood(stream_and_leave, stack.fronts[0], 1000, chance)
    before = await at_rest(stack, redis)
    await flood(stream_and_leave, stack.fronts[0], STREAMS_DROPPED, chance)
    check_same(before, await at_rest(stack, redis), count=STREAMS_DROPPED)
    await check_keys(redis)
    for pattern in (
        "lr:queue:*",
        "lr:lane:*",
        "lr:owners:*",
        "lr:claimed:*",
        "lr:deadlines",
        "arq:job:*",
        "arq:retry:*",
    ):
        assert await redis.keys(pattern) == [], pattern
    assert (await stack.post(input="Hi"))[0] == 200


ROW = re.compile(r"^\| (\S+) +\| (\w+) +\| .+? \| (.+?) +\|$", re.MULTILINE)
NAMES = re.compile(r"ID|MODEL|OWNER|DIGEST")


def table() -> dict[re.Pattern[str], tuple[str, bool]]:
    """The table in `shared.redis.keys`: the type of each key, and whether it lives for good."""
    rows = ROW.findall(keys.__doc__ or "")
    assert len(rows) > 20
    return {
        re.compile(NAMES.sub(".+", re.escape(key))): (kind, lives.startswith("for good"))
        for key, kind, lives in rows[1:]
    }


async def check_keys(redis: Redis) -> set[str]:
    """Every key is in the table, has the type that it says, and a time to live unless it lives for good. Returns which
    of its rows there were."""
    rows, found = table(), set()
    for name in map(bytes.decode, await redis.keys()):
        [pattern] = [pattern for pattern in rows if pattern.fullmatch(name)] or [None]
        assert pattern is not None, f"{name} is not in the table"
        kind, for_good = rows[pattern]
        async with redis.pipeline(transaction=True) as pipeline:
            type_, seconds = await pipeline.type(name).ttl(name).execute()
        assert type_.decode() in (kind, "none"), name  # none: it has just gone
        assert for_good or seconds != -1, f"{name} would stay for ever"
        found.add(pattern.pattern)
    return found


async def test_every_key_has_a_time_to_live_or_an_owner(make_stack: StackFactory, redis: Redis) -> None:
    gate = asyncio.Event()

    def answer(request: Any) -> Script:
        text = stack.engine.text(request.tokens)
        if "break" in text:
            return Script("half", EngineFailed("broken"))
        return Script("half", gate) if "wait" in text else Script("ok")

    stack = await make_stack(fronts=2, slots=4, loader=lambda *_: ScriptedEngine(answer), max_queue=6)
    for front in stack.fronts:
        front.app[CREATION]._share_of = lambda owner: 3
    url, http = stack.url, stack.http
    async with http.post(url + "/v1/conversations", json={"items": [{"role": "user", "content": "Hi"}]}) as made:
        conversation = (await made.json())["id"]
    _, first = await stack.post(input="Hi", conversation=conversation)
    await stack.post(input="Hi", previous_response_id=first["id"])
    await stack.post(input="Hi", store=False)
    await stack.post(input="break")
    headers = {"Idempotency-Key": "k"}
    async with http.post(url + "/v1/responses", json={"model": MODEL, "input": "Hi"}, headers=headers) as answered:
        assert answered.status == 200
    async with http.post(url + "/v1/responses/input_tokens", json={"model": MODEL, "input": "Hi"}) as counted:
        assert counted.status == 200
    socket = await Socket.open(stack)
    await socket.ask(input="Hi", store=False)
    await socket.close()
    running = [(await stack.post(input="wait", background=True))[1]["id"] for _ in range(3)]
    await until(lambda: stack.engine.stats.running == 3)
    waiting = [(await stack.post(input="wait", background=True))[1]["id"] for _ in range(6)]
    assert (await stack.post(input="Hi"))[0] == 429
    there = await check_keys(redis)
    assert {key.split(":")[1] for key in there} >= {"queue", "lane", "owners", "claimed", "shares", "held", "deadlines"}
    for response_id in (running[0], waiting[0], waiting[5]):
        async with http.post(f"{url}/v1/responses/{response_id}/cancel") as cancelled:
            assert cancelled.status == 200
    for response_id in (running[1], waiting[1]):
        async with http.delete(f"{url}/v1/responses/{response_id}") as deleted:
            assert deleted.status == 200
    dropped = asyncio.create_task(stack.stream(input="wait"))
    async with asyncio.timeout(10):
        while await redis.zcard(keys.DEADLINES) < 6:
            await asyncio.sleep(0.005)
    dropped.cancel()
    await asyncio.gather(dropped, return_exceptions=True)
    await check_keys(redis)
    gate.set()
    async with asyncio.timeout(10):
        while await redis.exists(keys.queue(QUEUES[0])):
            await asyncio.sleep(0.005)
    await stack.workers.pop().stop()
    await stack.fronts[0].app[FLEET].refresh()
    await check_keys(redis)
    for pattern in ("lr:queue:*", "lr:lane:*", "lr:owners:*", "lr:claimed:*", "lr:deadlines", "arq:*", "lr:worker*"):
        assert await redis.keys(pattern) == [], pattern
