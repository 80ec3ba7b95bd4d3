"""Fixtures: one real Redis and one `llamarelay up` for the session, and stacks of front ends and workers."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from redis.asyncio import Redis

from cli.embedded_redis import EmbeddedRedis
from tests.e2e.server import Up
from tests.stack import TEMPLATES, Stack, test_settings
from workers.engine.core import Engine
from workers.engine.scripted import ScriptedEngine

# no test asserts how long something takes, nor tries what others have not: with FUZZ_EXAMPLES they look further
hypothesis_settings.register_profile("untimed", deadline=None, derandomize="FUZZ_EXAMPLES" not in os.environ)
hypothesis_settings.load_profile("untimed")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell ran this in the background: children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis"), append_only=False) as server:
        yield server.url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty Redis."""
    client = Redis.from_url(redis_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture(scope="session", autouse=True)
async def _templates() -> AsyncIterator[None]:
    yield
    await TEMPLATES.close()


StackFactory = Callable[..., Awaitable[Stack]]


@pytest.fixture
async def make_stack(redis: Redis, redis_url: str) -> AsyncIterator[StackFactory]:
    """`await make_stack(fronts=1, workers=1, loader=..., **settings)`; stopped after the test."""
    stacks: list[Stack] = []

    async def make(
        *, fronts: int = 1, workers: int = 1, loader: Callable[..., Engine] | None = None, **changes: Any
    ) -> Stack:
        stack = Stack(test_settings(redis_url, **changes))
        stacks.append(stack)
        for _ in range(workers):
            await stack.add_worker(loader or (lambda *_: ScriptedEngine()))
        for _ in range(fronts):
            await stack.add_front()
        return stack

    yield make
    for stack in stacks:
        await stack.stop()


@pytest.fixture
async def stack(make_stack: StackFactory) -> Stack:
    """One front end, one worker, a scripted engine."""
    return await make_stack()


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """`llamarelay up` with the demo model, for all tests that only talk to it."""
    with Up(tmp_path_factory.mktemp("up")) as server:
        yield server


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parent.parent
