"""Work that is brought to its end although its caller is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from api.finishing import to_its_end


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("cancels", [1, 3])
async def test_a_cancellation_waits_for_the_work(fails: bool, cancels: int) -> None:
    begun, gate, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await gate.wait()
        done.set()
        if fails:
            raise ValueError

    caller = asyncio.create_task(to_its_end(work()))
    await begun.wait()
    for _ in range(cancels):
        caller.cancel()
        await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    async with asyncio.timeout(30):
        await done.wait()


async def test_otherwise_it_is_as_if_it_were_awaited() -> None:
    async def good() -> int:
        return 3

    async def bad() -> None:
        raise ValueError("why")

    assert await to_its_end(good()) == 3
    with pytest.raises(ValueError, match="why"):
        await to_its_end(bad())
