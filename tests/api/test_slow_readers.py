"""A client that reads slowly, or not at all: it costs little, slows nobody, and gets everything when it comes back."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

from redis.asyncio import Redis

from api.context import RELAY, STREAMS
from api.readers import Reader, Readers
from shared.redis import keys, records
from tests.api.sockets import Socket
from tests.conftest import StackFactory
from tests.stack import MODEL, Front
from tests.waiting import until
from tests.wire import check_stream, text_of
from workers.engine.core import GenerationRequest
from workers.engine.scripted import Script, ScriptedEngine

PIECE = "x" * 1000
PIECES = 3000  # more than the buffers of both sockets take
MOST_HELD = 1_500_000  # bytes of one reader: what waits in its buffers, and one write

OTHERS = 32


def engine() -> ScriptedEngine:
    """Answers `long` with much, and everything else briefly."""
    made: ScriptedEngine

    def answer(request: GenerationRequest) -> Script:
        return Script(*[PIECE] * PIECES) if "long" in made.text(request.tokens) else Script(*["word "] * 50)

    made = ScriptedEngine(answer)
    return made


class SlowClient:
    """A raw HTTP client with tiny buffers, which reads when it is told to."""

    def __init__(self, front: Front, body: dict[str, Any]) -> None:
        self.connection = socket.socket()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, _, port = front.url.removeprefix("http://").partition(":")
        self.connection.connect((host, int(port)))
        encoded = json.dumps(body).encode()
        head = f"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: {len(encoded)}\r\n\r\n".encode()
        self.connection.sendall(head + encoded)
        self.connection.setblocking(False)
        self.read = bytearray()

    async def read_some(self, count: int = 1 << 16) -> bool:
        """False at the end of the connection."""
        try:
            data = await asyncio.get_running_loop().sock_recv(self.connection, count)
        except ConnectionResetError:
            return False
        self.read += data
        return bool(data)

    def close(self) -> None:
        self.connection.close()

    def events(self) -> list[Any]:
        """The whole events that have come; chunks of HTTP are taken apart."""
        at, body = self.read.index(b"\r\n\r\n") + 4, bytearray()
        while (end := self.read.find(b"\r\n", at)) >= 0:
            size = int(self.read[at:end], 16)
            body += self.read[end + 2 : end + 2 + size]
            at = end + 2 + size + 2
        frames = body.split(b"\n\n")[:-1]
        return [json.loads(frame.partition(b"data: ")[2]) for frame in frames if frame.startswith(b"event: ")]


async def until_ended(redis: Redis, response_id: str) -> None:
    async with asyncio.timeout(30):
        while not (await records.read_end(redis, response_id))[0]:
            await asyncio.sleep(0.01)


async def test_a_client_that_reads_nothing_costs_little_slows_nobody_and_gets_all_in_the_end(
    make_stack: StackFactory, redis: Redis
) -> None:
    stack = await make_stack(slots=40, loader=lambda *_: engine())
    readers, relay = stack.fronts[0].app[STREAMS].readers, stack.fronts[0].app[RELAY]
    held: list[int] = []

    async def measure() -> None:
        while True:
            held.append(readers.waiting + relay.waiting)
            await asyncio.sleep(0.005)

    client = SlowClient(stack.fronts[0], {"model": MODEL, "input": "long", "stream": True})
    await until(lambda: stack.engine.stats.running == 1)
    response_id = stack.engine.requests[0].id
    measuring = asyncio.create_task(measure())
    others = await asyncio.gather(*(stack.stream(input="short") for _ in range(OTHERS)))
    assert all(text_of(check_stream(events)) == "word " * 50 for events in others)
    await until_ended(redis, response_id)
    assert readers.waiting > 0  # it is stuck indeed
    measuring.cancel()
    assert max(held) < MOST_HELD
    assert await redis.memory_usage(keys.events(response_id)) > 4 * MOST_HELD  # what it would be otherwise
    while not client.read.endswith(b"0\r\n\r\n"):
        assert await client.read_some()
    client.close()
    assert text_of(check_stream(client.events())) == PIECE * PIECES


async def test_who_takes_nothing_for_long_is_disconnected_and_can_resume(
    make_stack: StackFactory, redis: Redis
) -> None:
    gate = asyncio.Event()
    stack = await make_stack(
        loader=lambda *_: ScriptedEngine(Script(*[PIECE] * PIECES, gate, "end")), slow_reader_seconds=0.2
    )
    client = SlowClient(stack.fronts[0], {"model": MODEL, "input": "Hi", "stream": True})
    await until(lambda: stack.engine.stats.running == 1)
    response_id = stack.engine.requests[0].id
    readers = stack.fronts[0].app[STREAMS].readers
    await until(lambda: len(readers) == 0, seconds=30.0)
    gate.set()  # its response is not cancelled
    while await client.read_some():  # what was on its way already
        pass
    client.close()
    seen = client.events()[:-1]  # the client cannot know whether the last one is whole
    await until_ended(redis, response_id)
    rest = await stack.resume(response_id, seen[-1]["sequence_number"])
    final = check_stream([*seen, *rest])
    assert final["status"] == "completed"
    assert text_of(final) == PIECE * PIECES + "end"


async def test_an_unstored_response_ends_with_the_reader_that_is_cut_off(
    make_stack: StackFactory, redis: Redis
) -> None:
    gate = asyncio.Event()
    stack = await make_stack(loader=lambda *_: ScriptedEngine(Script(*[PIECE] * PIECES, gate)), slow_reader_seconds=0.2)
    client = SlowClient(stack.fronts[0], {"model": MODEL, "input": "Hi", "stream": True, "store": False})
    await until(lambda: stack.engine.stats.running == 1)
    await until(lambda: stack.engine.stats.running == 0, seconds=30.0)
    client.close()
    async with asyncio.timeout(10):
        while await redis.exists(keys.response(stack.engine.requests[0].id)):
            await asyncio.sleep(0.01)


async def test_a_websocket_that_takes_nothing_is_closed_and_its_stored_response_goes_on(
    make_stack: StackFactory, redis: Redis
) -> None:
    gate = asyncio.Event()
    stack = await make_stack(
        loader=lambda *_: ScriptedEngine(Script(*["x" * 50_000] * 300, gate, "end")), slow_reader_seconds=0.5
    )
    websocket = await Socket.open(stack, max_msg_size=0)
    await websocket.create(input="Hi")
    await until(lambda: stack.engine.stats.running == 1)
    readers = stack.fronts[0].app[STREAMS].readers
    await until(lambda: len(readers) == 0, seconds=60.0)
    gate.set()
    response_id = stack.engine.requests[0].id
    await until_ended(redis, response_id)
    status, response = await stack.get(f"/v1/responses/{response_id}")
    assert (status, response["status"]) == (200, "completed")
    assert text_of(response).endswith("xend")
    await websocket.raw.close()


class Transport(asyncio.WriteTransport):
    """A socket that takes what a test says."""

    def __init__(self) -> None:
        self.waiting = 0
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


def test_patience_begins_anew_with_every_byte_that_is_taken() -> None:
    transport = Transport()
    reader = Reader(transport)
    for now in range(0, 1000, 100):  # nothing waits: silence of the model is nobody's fault
        reader.look(float(now), 60.0)
    reader.wrote(5000)
    transport.waiting = 5000
    for now in range(1000, 1600, 10):
        reader.look(float(now), 60.0)
        if now % 50 == 0:
            transport.waiting -= 1
    assert not transport.aborted
    reader.look(1619.0, 60.0)
    assert not transport.aborted
    reader.look(1620.0, 60.0)
    assert transport.aborted
    assert reader.cut_off


def test_more_to_read_is_no_sign_of_reading() -> None:
    transport = Transport()
    reader = Reader(transport)
    for now in range(0, 60, 10):
        reader.wrote(100)
        transport.waiting += 107  # with what HTTP writes around it
        reader.look(float(now), 50.0)
    assert transport.aborted


async def test_nobody_is_watched_longer_than_he_is_sent_something() -> None:
    readers = Readers(1.0)
    with readers.watching(None) as reader:
        reader.look(1e9, 1.0)
        assert len(readers) == 1
    assert len(readers) == 0
