"""A response whose MCP server sends what takes long to go through is felt by no other response."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import mcp_types as types
import pytest
from redis.asyncio import Redis

from shared import mcp_server
from shared.redis import keys
from tests.api.test_remote_tools import lossy, mcp
from tests.conftest import StackFactory
from tests.mcp_servers import listing
from tests.waiting import until
from tests.wire import check_stream, text_of
from workers.engine.scripted import Script


async def test_while_secrets_are_taken_out_other_leases_are_renewed(
    make_stack: StackFactory, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = await lossy(make_stack, lease_seconds=60.0)
    begun, done, gate = threading.Event(), threading.Event(), asyncio.Event()
    threads: list[threading.Thread] = []

    def replaced(text: str, _: Any) -> str:
        threads.append(threading.current_thread())
        begun.set()
        if threading.current_thread() is not threading.main_thread():
            done.wait(60)
        return text

    monkeypatch.setattr(mcp_server, "replaced", replaced)
    stack.engine.play(Script("half", gate, " an answer"), Script("after"))
    other = asyncio.create_task(stack.stream(input="Hi"))
    await until(lambda: stack.engine.stats.generated_tokens == 1)
    lease = keys.lease(stack.engine.requests[0].id)
    long = types.Tool(name="t", description="x" * 600_000, input_schema={"type": "object"})
    async with listing(long) as server:
        heavy = asyncio.create_task(stack.post(input="Go", tools=[mcp(server)]))
        try:
            await until(begun.is_set)
            await redis.pexpire(lease, 30_000)
            async with asyncio.timeout(20):
                while await redis.pttl(lease) <= 30_000:  # until it is renewed
                    await asyncio.sleep(0.01)
            gate.set()
            assert text_of(check_stream(await other)) == "half an answer"
            assert not heavy.done()
        finally:
            done.set()
            gate.set()
        _, response = await heavy
    assert text_of(response) == "after"
    assert threading.main_thread() not in threads
