"""The follower's promise, property-tested: every event once, in order, whatever pub/sub loses, repeats or delays."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.follower import ResponseGone, follow
from shared.redis import event_log


class LossyChannel:
    """Pub/sub that delivers what the plan says: each batch is kept, lost or repeated."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    def publish(self, batch: bytes, fate: str) -> None:
        for _ in range({"lost": 0, "kept": 1, "twice": 2}[fate]):
            self._queue.put_nowait(batch)

    def silence(self) -> None:
        self._queue.put_nowait(None)

    async def get(self, timeout: float) -> list[bytes]:
        message = await self._queue.get()
        return [] if message is None else [message]


def event(number: int, last: int) -> bytes:
    kind = "response.completed" if number == last else "response.output_text.delta"
    return b'{"type":"%s","sequence_number":%d}' % (kind.encode(), number)


@settings(max_examples=300, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=25),
    fates=st.lists(st.sampled_from(["kept", "lost", "twice"]), min_size=25, max_size=25),
    joined_at=st.integers(0, 25),
    after=st.integers(-1, 30),
    pauses=st.lists(st.booleans(), min_size=25, max_size=25),
)
def test_every_event_comes_once(
    sizes: list[int], fates: list[str], joined_at: int, after: int, pauses: list[bool]
) -> None:
    total = sum(sizes)
    after = min(after, total - 2)
    log: list[bytes] = []
    channel = LossyChannel()
    batches = []
    for size in sizes:
        first = sum(map(len, batches))
        batches.append([event(first + i, total - 1) for i in range(size)])

    async def read_log(first: int) -> list[bytes]:
        await asyncio.sleep(0)
        return log[first:]

    async def exists() -> bool:
        return True

    async def publish() -> None:
        for position, batch in enumerate(batches):
            first = len(log)
            log.extend(batch)
            if position >= joined_at:
                channel.publish(b"\n".join([str(first).encode(), *batch]), fates[position])
            if pauses[position]:
                await asyncio.sleep(0)
        for _ in range(3):
            channel.silence()

    async def run() -> list[bytes]:
        publisher = asyncio.create_task(publish())
        received = [
            event
            async for events in follow(channel, read_log, exists, after=after, silence_seconds=1)
            for event in events
        ]
        await publisher
        return received

    assert asyncio.run(run()) == log[after + 1 :]


async def test_a_response_that_is_gone_is_said_so() -> None:
    channel = LossyChannel()
    channel.silence()

    async def nothing(first: int) -> list[bytes]:
        return []

    async def exists() -> bool:
        return False

    with pytest.raises(ResponseGone):
        async for _ in follow(channel, nothing, exists, after=-1, silence_seconds=1):
            pass


async def test_an_end_between_a_look_into_the_log_and_one_at_the_record_is_told() -> None:
    """As of a response that was deleted while it ran: its record goes with its end."""
    log = [event(0, 2), event(1, 2)]
    channel = LossyChannel()
    channel.silence()

    async def read_log(first: int) -> list[bytes]:
        return log[first:]

    async def exists() -> bool:
        log.append(event(2, 2))
        return False

    received = [e async for events in follow(channel, read_log, exists, after=-1, silence_seconds=1) for e in events]
    assert received == [event(number, 2) for number in range(3)]


async def test_long_logs_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    total = event_log.READ_COUNT * 2 + 7
    log = [event(number, total - 1) for number in range(total)]
    reads = []

    async def read_log(first: int) -> list[bytes]:
        reads.append(first)
        return log[first : first + event_log.READ_COUNT]

    async def exists() -> bool:
        return True

    received = [
        e async for events in follow(LossyChannel(), read_log, exists, after=-1, silence_seconds=1) for e in events
    ]
    assert received == log
    assert len(reads) == 3
