"""Looking up names: those that are never answered hold up nothing else, and only so many wait."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from shared.address_guard import AddressGuard, NotLookedUp
from shared.mcp_hosts import McpHosts
from shared.names import THREADS, Names, NamesBusy
from tests.waiting import until


class Tarpit:
    """A name server that answers for no name until it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = threading.Event()

    def getaddrinfo(self, host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        self.asked.append(host)
        self.answer.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", port))]


@pytest.fixture
def tarpit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tarpit]:
    found = Tarpit()
    monkeypatch.setattr(socket, "getaddrinfo", found.getaddrinfo)
    yield found
    found.answer.set()


async def test_names_that_are_not_answered_leave_the_threads_of_others_alone(tarpit: Tarpit) -> None:
    guard, hosts = AddressGuard(), McpHosts(["public"])
    checks = [
        asyncio.create_task(check(f"http://n{number}.example/"))
        for number in range(2 * THREADS)
        for check in (guard.check, hosts.check)
    ]
    await until(lambda: len(tarpit.asked) == THREADS)
    async with asyncio.timeout(20):
        assert await asyncio.to_thread(int, "7") == 7
    tarpit.answer.set()
    async with asyncio.timeout(20):
        await asyncio.gather(*checks)
    assert len(tarpit.asked) == 4 * THREADS


async def test_only_so_many_names_wait(tarpit: Tarpit) -> None:
    names = Names(threads=1, most=2)
    asking = [asyncio.create_task(names.resolve(host, 80)) for host in ("a", "b")]
    await until(lambda: tarpit.asked == ["a"])
    with pytest.raises(NamesBusy):
        await names.resolve("c", 80)
    for guard in (AddressGuard(resolve=names.resolve), McpHosts(["public"], names.resolve)):
        with pytest.raises(NotLookedUp, match="too many names are looked up"):
            await guard.check("http://c.example/")
    asking[1].cancel()  # who gives up leaves the queue
    await asyncio.wait({asking[1]})
    asking.append(asyncio.create_task(names.resolve("d", 80)))
    await asyncio.sleep(0)
    tarpit.answer.set()
    assert await asking[0] == await asking[2] == ["8.8.8.8"]
    assert tarpit.asked == ["a", "d"]
    assert await names.resolve("e", 80) == ["8.8.8.8"]
