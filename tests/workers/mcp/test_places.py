"""The connections of one worker process are bounded, and no owner takes all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from shared.api_keys import PUBLIC
from shared.mcp_hosts import McpHosts
from shared.mcp_server import Server
from shared.schema.mcp import HttpError
from shared.settings import Settings
from tests.mcp_servers import Running, calculator, documentation_server, faulty, hang, slow_server
from tests.waiting import until
from workers.mcp import Room, ServerFailed, Servers
from workers.mcp.connection import Connection, beside
from workers.mcp.places import Places

SOON = Settings(mcp_connect_seconds=0.3)
PATIENT = Settings(mcp_connect_seconds=60)


class Takers:
    """Who wants places, by name: `alice 1` is of the owner alice, `alice 1 b` of her response b."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._leave: dict[str, asyncio.Event] = {}
        self.inside: list[str] = []

    async def come(self, *names: str) -> None:
        for name in names:
            self._leave[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._hold(name))
        await self._settled()

    async def go(self, name: str) -> None:
        self._leave[name].set()
        await self._settled()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await self._settled()

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _hold(self, name: str) -> None:
        async with self._places.place(name.split()[0], name.partition(" ")[2].partition(" ")[2]):
            self.inside.append(name)
            try:
                await self._leave[name].wait()
            finally:
                self.inside.remove(name)

    async def _settled(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


@asynccontextmanager
async def takers(most: int) -> AsyncIterator[Takers]:
    found = Takers(Places(most))
    try:
        yield found
    finally:
        await found.close()
    assert found.inside == []


async def test_there_are_only_so_many_places() -> None:
    async with takers(2) as they:
        await they.come(f"{PUBLIC} 1", f"{PUBLIC} 2", f"{PUBLIC} 3", f"{PUBLIC} 4", f"{PUBLIC} 5")
        assert they.inside == [f"{PUBLIC} 1", f"{PUBLIC} 2"]
        await they.cancel(f"{PUBLIC} 3")  # who gives up is not given any
        await they.go(f"{PUBLIC} 1")
        assert they.inside == [f"{PUBLIC} 2", f"{PUBLIC} 4"]
        await they.cancel(f"{PUBLIC} 4")
        assert they.inside == [f"{PUBLIC} 2", f"{PUBLIC} 5"]


async def test_a_place_that_is_given_to_somebody_who_leaves_just_then_is_not_lost() -> None:
    async with takers(1) as they:
        await they.come(f"{PUBLIC} 1", f"{PUBLIC} 2", f"{PUBLIC} 3")
        they._leave[f"{PUBLIC} 1"].set()
        await asyncio.sleep(0)
        they._tasks[f"{PUBLIC} 2"].cancel()
        await they._settled()
        assert they.inside == [f"{PUBLIC} 3"]


async def test_any_number_of_places() -> None:
    async with takers(0) as they:
        await they.come(*(f"alice {number}" for number in range(20)))
        assert len(they.inside) == 20


async def test_an_owner_with_a_key_has_half_of_them_at_most() -> None:
    async with takers(4) as they:
        await they.come("alice 1", "alice 2", "alice 3", "alice 4", "bob 1")
        assert they.inside == ["alice 1", "alice 2", "bob 1"]
        await they.go("bob 1")
        assert they.inside == ["alice 1", "alice 2"]
        await they.go("alice 1")
        assert they.inside == ["alice 2", "alice 3"]


async def test_the_next_place_goes_to_who_has_the_fewest() -> None:
    async with takers(4) as they:
        await they.come("alice 1", "alice 2", "bob 1", "carol 1", "bob 2", "dave 1")
        assert they.inside == ["alice 1", "alice 2", "bob 1", "carol 1"]
        await they.go("carol 1")
        assert they.inside == ["alice 1", "alice 2", "bob 1", "dave 1"]


async def test_a_response_that_has_few_comes_before_one_that_has_many() -> None:
    async with takers(2) as they:
        await they.come(*(f"{PUBLIC} {number} a" for number in range(5)), f"{PUBLIC} 5 b")
        await they.go(f"{PUBLIC} 0 a")
        assert they.inside == [f"{PUBLIC} 1 a", f"{PUBLIC} 5 b"]


async def test_what_is_idle_is_given_up_for_who_waits() -> None:
    places = Places(2)
    given_up: list[str] = []
    async with AsyncExitStack() as stack:
        for owner in ("alice", "bob"):
            await stack.enter_async_context(places.place(owner, owner))
        places.idle("alice", one := lambda: given_up.append("one"))
        places.used(one)
        they = Takers(places)
        await they.come("bob 1")  # has its share, which only bob's own could change
        assert given_up == []
        await they.come("carol 1")
        places.idle("alice", lambda: given_up.append("two"))
        assert given_up == ["two"]
        await they.cancel("carol 1")
        places.idle("alice", lambda: given_up.append("three"))
        assert given_up == ["two"]
        await they.come("dave 1")
        assert given_up == ["two", "three"]
        await they.close()


def servers(room: Room, *running: Running, owner: str = PUBLIC, settings: Settings = SOON) -> Servers:
    given = [Server(label=label, url=server.url) for label, server in zip("abc", running, strict=False)]
    return Servers(given, settings, McpHosts(["127.0.0.1"]), room=room, owner=owner)


async def test_a_connection_too_many_waits_and_says_so() -> None:
    room = Room(1)
    async with faulty(hang) as slow, calculator() as running:
        async with servers(room, slow, settings=PATIENT) as hostile:
            hanging = asyncio.create_task(hostile.list_tools("a"))
            await until(lambda: len(slow.requests) == 1)
            async with servers(room, running) as hasty:
                with pytest.raises(
                    ServerFailed, match=r"as many connections .* none became free within 0.3 s"
                ) as failed:
                    await hasty.list_tools("a")
            assert isinstance(failed.value.error, HttpError)
            assert failed.value.error.code == 503
            assert running.requests == []
            other = servers(room, running, settings=PATIENT)
            waiting = asyncio.create_task(other.list_tools("a"))
        async with other:  # the place is free
            assert [tool.name for tool in await waiting] == ["add", "reset"]
        with pytest.raises(ServerFailed):
            await hanging


async def test_one_owner_leaves_places_for_others() -> None:
    room = Room(4)
    async with faulty(hang) as slow, calculator() as running:
        hostile = servers(room, slow, slow, slow, owner="alice", settings=PATIENT)
        async with hostile, servers(room, running, owner="bob", settings=PATIENT) as others:
            hanging = [asyncio.create_task(hostile.list_tools(label)) for label in "abc"]
            await until(lambda: len(slow.requests) == 2)
            assert [tool.name for tool in await others.list_tools("a")] == ["add", "reset"]
            assert len(slow.requests) == 2
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)


async def test_sessions_that_are_not_used_make_room() -> None:
    room = Room(1)
    async with calculator(legacy=True) as sums, documentation_server() as docs:
        async with (
            servers(room, sums, settings=Settings()) as first,
            servers(room, docs, settings=Settings()) as second,
        ):
            for _ in range(2):
                assert await first.call("a", "add", {"a": 1, "b": 2}) == "3"
                assert len(await second.list_tools("a")) == 2
        assert sums.messages.count("initialize") == 2


async def test_a_call_too_many_waits_and_says_so() -> None:
    room = Room(2)
    room.calls = Places(1)
    async with slow_server() as slow, servers(room, slow, settings=PATIENT) as patient:
        first = asyncio.create_task(patient.call("a", "wait", {}))
        await until(lambda: len(slow.calls) == 1)
        async with servers(room, slow, settings=Settings(mcp_call_seconds=0.3)) as hasty:
            with pytest.raises(ServerFailed, match=r"not asked: .* none became free within 0.3 s"):
                await hasty.call("a", "quick", {})
        slow.release.set()
        assert await first == "waited"
        assert await patient.call("a", "quick", {}) == "quick"
    assert [name for name, _ in slow.calls] == ["wait", "quick"]


async def test_a_call_begins_when_it_has_its_place() -> None:
    room = Room(2)
    room.calls = Places(1)
    begun: list[str] = []

    async def begin() -> None:
        begun.append("quick")

    async with slow_server() as slow, servers(room, slow, settings=PATIENT) as patient:
        first = asyncio.create_task(patient.call("a", "wait", {}))
        await until(lambda: len(slow.calls) == 1)
        second = asyncio.create_task(patient.call("a", "quick", {}, begin))
        await until(lambda: bool(room.calls._waiting))
        assert begun == []
        slow.release.set()
        assert await second == "quick"
        assert begun == ["quick"]
        await first


async def test_what_comes_before_a_call_takes_none_of_its_time() -> None:
    limits: list[float | None] = []
    async with asyncio.timeout(60) as limit:
        begun = limit.when()

        async def begin() -> None:
            limits.append(limit.when())
            await asyncio.sleep(0.001)

        await beside(limit, begin)
    assert limits == [None]
    assert begun is not None
    assert (limit.when() or 0) > begun


async def test_a_connection_that_broke_before_the_call_was_sent_is_made_again() -> None:
    async with calculator(legacy=True) as running, servers(Room(2), running, settings=PATIENT) as found:
        broken: list[Connection] = []

        async def begin() -> None:
            if not broken:
                broken.append(found._places["a"]._connections[-1])
                await broken[0].closed()

        assert await found.call("a", "add", {"a": 1, "b": 2}, begin) == "3"
    assert len(running.calls) == 1
    assert running.messages.count("initialize") == 2
