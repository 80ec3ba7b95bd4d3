"""How often the servers of one host are called."""

from __future__ import annotations

import asyncio

import pytest

from shared.mcp_hosts import McpHosts
from shared.mcp_server import Server
from shared.settings import Settings
from tests.mcp_servers import calculator
from workers.mcp import Servers
from workers.mcp.rate import CallRate


class Clock:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds


async def test_a_minutes_calls_at_once_then_as_they_come_back() -> None:
    clock = Clock()
    rate = CallRate(clock, clock.sleep)
    for _ in range(6):
        await rate.wait("a:1", 6)
    assert clock.slept == []
    await rate.wait("a:1", 6)
    await rate.wait("a:1", 6)
    assert clock.slept == [10, 10]
    await rate.wait("b:1", 6)  # another host
    assert clock.slept == [10, 10]
    clock.now += 25
    for _ in range(3):
        await rate.wait("a:1", 6)
    assert clock.slept == [10, 10, 5]


async def test_no_limit() -> None:
    clock = Clock()
    rate = CallRate(clock, clock.sleep)
    for _ in range(1000):
        await rate.wait("a:1", 0)
    assert clock.slept == []


async def test_a_call_that_is_given_up_takes_no_turn() -> None:
    clock, waiting = Clock(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    rate = CallRate(clock, sleep)
    await rate.wait("a:1", 1)
    call = asyncio.create_task(rate.wait("a:1", 1))
    await waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    clock.now += 60
    async with asyncio.timeout(30):
        await rate.wait("a:1", 1)


async def test_calls_of_several_responses_share_a_rate() -> None:
    clock = Clock()
    rate = CallRate(clock, clock.sleep)
    settings = Settings(mcp_calls_per_minute=2)
    async with calculator() as running:
        for number in range(3):
            given = [Server(label="a", url=running.url)]
            async with Servers(given, settings, McpHosts(["127.0.0.1"]), rate) as servers:
                await servers.call("a", "add", {"a": number, "b": 0})
        assert clock.slept == [30]
        assert len(running.calls) == 3
