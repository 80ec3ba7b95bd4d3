"""Loops that go on whatever happens in them."""

from __future__ import annotations

import asyncio

import pytest

from shared import enduring as module
from shared.enduring import enduring
from tests.waiting import until


async def test_a_loop_that_breaks_begins_again_until_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    begun = 0

    async def loop() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise RuntimeError("unexpected")
        await asyncio.Event().wait()

    task = asyncio.create_task(enduring(loop, "loop"))
    await until(lambda: begun == 3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
