"""The follower's promise, property-tested: every event once, in order, and an end, whatever pub/sub loses, repeats or
delays, and wherever the reader begins."""

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
    log: list[bytes] = []
    channel = LossyChannel()
    batches = []
    for size in sizes:
        first = sum(map(len, batches))
        batches.append([event(first + i, total - 1) for i in range(size)])

    async def read_log(first: int) -> list[bytes]:
        await asyncio.sleep(0)
        return log[first:]

    async def read_end(number: int) -> bytes | None:
        await asyncio.sleep(0)
        return event(number, number) if len(log) == total else None

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
            async for events in follow(channel, read_log, read_end, after=after, silence_seconds=1)
            for event in events
        ]
        await publisher
        return received

    assert asyncio.run(run()) == (log[after + 1 :] or [event(after + 1, after + 1)])


class FollowedLog:
    """A log of a few events, and a channel that is never silent: what comes comes without waiting for that."""

    def __init__(self, *log: bytes, ended: bool) -> None:
        self.log = list(log)
        self.ended = ended
        self.channel = LossyChannel()

    async def read(self, first: int) -> list[bytes]:
        return self.log[first:]

    async def read_end(self, number: int) -> bytes | None:
        return event(number, number) if self.ended else None

    async def follow(self, after: int) -> list[bytes]:
        following = follow(self.channel, self.read, self.read_end, after=after, silence_seconds=1)
        async with asyncio.timeout(10):
            return [event async for events in following for event in events]


@pytest.mark.parametrize("after", [8, 9, 50, 10**6])
async def test_who_asks_for_what_is_beyond_the_end_gets_the_end_at_once(after: int) -> None:
    followed = FollowedLog(*(event(number, 8) for number in range(9)), ended=True)
    assert await followed.follow(after) == [event(after + 1, after + 1)]


async def test_numbers_that_go_back_end_all_the_same() -> None:
    """The log has lost what a reader has seen, and whoever took the response over has ended it at a lower number."""
    followed = FollowedLog(*(event(number, 99) for number in range(5)), ended=False)
    reading = asyncio.create_task(followed.follow(9))
    await asyncio.sleep(0)
    rest = [event(5, 6), event(6, 6)]
    followed.log += rest
    followed.ended = True
    followed.channel.publish(b"\n".join([b"5", *rest]), "kept")
    assert await reading == [event(10, 10)]


async def test_what_comes_while_the_end_is_looked_up_is_not_left_out() -> None:
    followed = FollowedLog(event(0, 3), event(1, 3), ended=True)

    async def read_end(number: int) -> bytes | None:
        followed.log += [event(2, 3), event(3, 3)]
        return event(number, number)

    followed.read_end = read_end  # type: ignore[method-assign]
    assert await followed.follow(1) == [event(2, 3), event(3, 3)]


async def test_a_response_that_is_gone_is_said_so() -> None:
    channel = LossyChannel()
    channel.silence()

    async def nothing(first: int) -> list[bytes]:
        return []

    async def gone(number: int) -> bytes | None:
        raise ResponseGone

    with pytest.raises(ResponseGone):
        async for _ in follow(channel, nothing, gone, after=-1, fresh=True, silence_seconds=1):
            pass


async def test_an_end_between_a_look_into_the_log_and_one_at_the_record_is_told() -> None:
    """As of a response that was deleted while it ran: its record goes with its end."""
    followed = FollowedLog(event(0, 2), event(1, 2), ended=False)

    async def read_end(number: int) -> bytes | None:
        followed.log.append(event(2, 2))
        raise ResponseGone

    followed.read_end = read_end  # type: ignore[method-assign]
    assert await followed.follow(1) == [event(2, 2)]


async def test_long_logs_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    total = event_log.READ_COUNT * 2 + 7
    log = [event(number, total - 1) for number in range(total)]
    reads = []

    async def read_log(first: int) -> list[bytes]:
        reads.append(first)
        return log[first : first + event_log.READ_COUNT]

    async def runs(number: int) -> bytes | None:
        return None

    received = [
        e async for events in follow(LossyChannel(), read_log, runs, after=-1, silence_seconds=1) for e in events
    ]
    assert received == log
    assert len(reads) == 3
