"""A long prompt is written beside the event loop: leases are renewed, and other responses go on."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from redis.asyncio import Redis

from shared.redis import keys
from shared.schema.content import InputText
from shared.schema.items import Message
from tests.conftest import StackFactory
from tests.stack import MODEL
from tests.stack import TEMPLATES as PROCESS
from tests.wire import text_of
from workers.engine.scripted import Script, ScriptedEngine
from workers.prompt import AT_ONCE, PART, Prompter


class Slow(ScriptedEngine):
    """Reads a long text only when it is told to."""

    def __init__(self) -> None:
        super().__init__(Script("ok"), context_length=1_000_000)
        self.begun, self.go = threading.Event(), threading.Event()
        self.threads: list[int] = []

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        self.threads.append(threading.get_ident())
        if len(text) > AT_ONCE:
            self.begun.set()
            assert self.go.wait(30), "the event loop stood still"
        return super().tokenize(text, special=special)


async def begun(engine: Slow) -> None:
    while not engine.begun.is_set():
        await asyncio.sleep(0.005)


async def test_a_lease_is_renewed_and_others_are_served_while_a_long_prompt_is_read(
    make_stack: StackFactory, redis: Redis
) -> None:
    stack = await make_stack(workers=0, lease_seconds=3.0)
    engine = Slow()
    await stack.add_worker(lambda *_: engine)
    long = asyncio.create_task(stack.post(input="word " * AT_ONCE))
    await begun(engine)
    (lease,) = await redis.keys(keys.lease("*"))
    left, renewed = await redis.pttl(lease), 0
    while renewed < 3:
        await asyncio.sleep(0.01)
        before, left = left, await redis.pttl(lease)
        renewed += left > before
    status, response = await stack.post(input="short")
    assert (status, text_of(response)) == (200, "ok")
    assert not long.done()
    engine.go.set()
    status, response = await long
    assert (status, text_of(response)) == (200, "ok")


async def test_a_long_prompt_is_measured_beside_the_event_loop(make_stack: StackFactory) -> None:
    stack = await make_stack(workers=0)
    engine = Slow()
    await stack.add_worker(lambda *_: engine)

    async def count() -> Any:
        body = {"model": MODEL, "input": "word " * AT_ONCE}
        async with stack.http.post(stack.fronts[0].url + "/v1/responses/input_tokens", json=body) as answer:
            return await answer.json()

    counting = asyncio.create_task(count())
    await begun(engine)
    assert (await stack.post(input="short"))[0] == 200
    engine.go.set()
    assert (await counting)["input_tokens"] > AT_ONCE


async def test_a_short_prompt_needs_no_thread_and_messages_of_many_parts_are_not_short(monkeypatch: Any) -> None:
    engine = Slow()
    engine.go.set()
    prompter = await Prompter.load(engine, PROCESS)
    aside: list[str] = []
    to_thread = asyncio.to_thread

    async def noted(work: Any, *arguments: Any) -> Any:
        aside.append(work.__name__)
        return await to_thread(work, *arguments)

    monkeypatch.setattr(asyncio, "to_thread", noted)

    async def write(*texts: str) -> list[str]:
        aside.clear()
        message = Message(id="msg_1", role="user", content=[InputText(text=text) for text in texts])
        await prompter.write(None, [message], None)
        return list(aside)

    assert await write("a few words") == []
    assert await write("word " * AT_ONCE) == ["prepare", "read"]
    assert await write(*[""] * (AT_ONCE // PART)) == ["prepare"]
