"""The ends of MCP sessions: nobody waits for them, and nothing is left of them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.api.test_remote_tools import call_of, lossy, mcp
from tests.conftest import StackFactory
from tests.mcp_servers import Running, calculator
from tests.waiting import until
from tests.wire import check_stream, text_of
from tests.workers.mcp.test_failures import owners
from workers.engine.scripted import Script
from workers.mcp import Servers, connection

LONG = 60.0


class Ending:
    """How a server takes the news that a session ends: it answers when `let` is set."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.let = asyncio.Event()
        self.heard = 0  # how often it could answer
        self.hung_up = asyncio.Event()  # the client has not waited

    def layer(self, app: ASGIApp) -> ASGIApp:
        async def ending(scope: Scope, receive: Receive, send: Send) -> None:
            if scope.get("method") != "DELETE":
                await app(scope, receive, send)
                return
            self.begun.set()
            leaving = asyncio.create_task(self._leaving(receive))
            letting = asyncio.create_task(self.let.wait())
            await asyncio.wait({leaving, letting}, return_when=asyncio.FIRST_COMPLETED)
            for task in (leaving, letting):
                task.cancel()
            if not self.hung_up.is_set():
                await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
                await send({"type": "http.response.body"})
                self.heard += 1

        return ending

    async def _leaving(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.hung_up.set()


@asynccontextmanager
async def slow_to_end() -> AsyncIterator[tuple[Running, Ending]]:
    ending = Ending()
    async with calculator(legacy=True, wrap=ending.layer) as server:
        yield server, ending


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for such a server would wait for longer than a test may last."""
    monkeypatch.setattr(connection, "CLOSING_SECONDS", LONG)


async def test_the_end_of_a_response_does_not_wait_for_its_sessions(make_stack: StackFactory) -> None:
    """Nor does its slot."""
    stack = await lossy(make_stack, slots=1)
    async with slow_to_end() as (server, ending), asyncio.timeout(LONG / 2):
        stack.engine.play(Script(*call_of("add", '{"a": 1, "b": 2}')), Script("3"), Script("hi"))
        final = check_stream(await stack.stream(input="Go", tools=[mcp(server)]))
        assert (final["status"], text_of(final)) == ("completed", "3")
        _, other = await stack.post(input="Hello")
        assert text_of(other) == "hi"
        await ending.begun.wait()
        assert not ending.hung_up.is_set()
        ending.let.set()
        await until(lambda: not owners())
        assert ending.heard == 1


async def test_a_cancelled_call_does_not_wait_for_its_session(make_stack: StackFactory) -> None:
    stack = await lossy(make_stack, slots=1)
    async with slow_to_end() as (server, ending), asyncio.timeout(LONG / 2):
        stack.engine.play(Script(*call_of("add", '{"a": 1, "b": 2}')), Script("so", asyncio.Event()))
        stream = asyncio.create_task(stack.stream(input="Go", tools=[mcp(server)]))
        await until(lambda: len(stack.engine.requests) == 2)
        async with stack.client() as client:
            await client.responses.cancel(stack.engine.requests[0].id)
        assert check_stream(await stream)["status"] == "cancelled"
        await ending.begun.wait()
        assert not ending.hung_up.is_set()


async def test_a_place_and_the_secrets_are_kept_until_the_session_is_closed(make_stack: StackFactory) -> None:
    stack = await lossy(make_stack, mcp_max_connections=1)
    gc.collect()
    assert not opened()

    async with slow_to_end() as (server, ending), asyncio.timeout(LONG / 2):
        given = {"input": "Go", "tools": [mcp(server, authorization="a-secret-7")]}
        await stack.post(**given)
        await ending.begun.wait()
        second = asyncio.create_task(stack.post(**given))
        await until(lambda: owners().count("mcp docs") == 2)  # one closes, one waits for its place
        assert server.messages.count("initialize") == 1
        assert opened()
        ending.let.set()
        _, response = await second
        assert response["output"][0]["error"] is None
        assert server.messages.count("initialize") == 2
        await until(lambda: not owners())
    gc.collect()
    assert not opened()


def opened() -> list[Servers]:
    """The connections of responses that something still holds, with the secrets they need."""
    return [one for one in gc.get_objects() if type(one) is Servers]


@pytest.mark.parametrize("answers", [True, False])
async def test_a_worker_that_stops_waits_for_its_sessions_but_not_long(
    make_stack: StackFactory, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    if answers:
        monkeypatch.setattr("workers.process.SESSIONS_SECONDS", LONG)
    stack = await lossy(make_stack)
    async with slow_to_end() as (server, ending), asyncio.timeout(LONG / 2):
        await stack.post(input="Go", tools=[mcp(server)])
        await ending.begun.wait()
        stopping = asyncio.create_task(stack.workers.pop().stop())
        if answers:
            ending.let.set()
        await stopping
        assert not owners()
        await until(lambda: ending.heard == 1 if answers else ending.hung_up.is_set())
