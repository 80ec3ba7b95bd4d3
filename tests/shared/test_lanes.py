"""Who waits for whom where schemas are looked into."""

from __future__ import annotations

import asyncio
import os
import threading

from shared.lanes import looked_into
from shared.trials import OutOfTime, Trials


async def test_nothing_waits_for_what_takes_long() -> None:
    """Neither short looks nor what else is done in threads, however many long ones there are."""
    begun, done, at_once = threading.Event(), threading.Event(), threading.Semaphore(1)

    def long(trials: Trials) -> str:
        if trials.first_look:
            raise OutOfTime
        begun.set()
        assert at_once.acquire(blocking=False)
        assert done.wait(60)
        at_once.release()
        return "long"

    def short(trials: Trials) -> str:
        return f"short {trials.first_look}"

    hostile = [asyncio.create_task(looked_into(long)) for _ in range((os.cpu_count() or 1) + 8)]
    assert await asyncio.to_thread(begun.wait, 60)
    assert [await looked_into(short) for _ in range(3)] == ["short True"] * 3
    assert not any(task.done() for task in hostile)
    done.set()
    assert await asyncio.gather(*hostile) == ["long"] * len(hostile)
