"""How many connections to MCP servers one worker process has, and who gets the next one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

from shared.api_keys import PUBLIC

PASSES = 5  # of the event loop, in which the SDK hands a message from task to task


class _Waiting(NamedTuple):
    owner: str
    response: object
    granted: asyncio.Future[None]


class Places:
    """Places that owners take, and wait for where there are none. An owner with a key never has more than half of them,
    so that others find some. The next one that is free goes to the owner who has the fewest, to that of its responses
    which has the fewest."""

    def __init__(self, most: int) -> None:
        """`most`: 0 for any number."""
        self._most = most
        self._taken: Counter[str] = Counter()  # by owner
        self._by_response: Counter[object] = Counter()
        self._waiting: list[_Waiting] = []
        self._idle: dict[Callable[[], None], str] = {}  # what gives up a place that is not used, and whose it is

    @asynccontextmanager
    async def place(self, owner: str, response: object) -> AsyncIterator[None]:
        """Holds a place, once there is one. `response`: what tells the owner's responses apart."""
        if self._most and (self._most <= self._taken.total() or self._has_share(owner)):
            await self._wait(owner, response)
        else:
            self._count(owner, response, 1)
        try:
            yield
        finally:
            self._leave(owner, response)

    def idle(self, owner: str, give_up: Callable[[], None]) -> None:
        """A place is held and not used: `give_up` is called where somebody waits for it, now or later."""
        if any(self._helps(owner, one.owner) for one in self._waiting if not one.granted.done()):
            give_up()
        else:
            self._idle[give_up] = owner

    def used(self, give_up: Callable[[], None]) -> None:
        """It is used again, or closed."""
        self._idle.pop(give_up, None)

    def _has_share(self, owner: str) -> bool:
        """Whether an owner has as much as it may."""
        return owner != PUBLIC and self._taken[owner] >= max(self._most // 2, 1)

    def _helps(self, holder: str, owner: str) -> bool:
        """Whether `owner` could have a place that `holder` gives up."""
        return holder == owner or not self._has_share(owner)

    async def _wait(self, owner: str, response: object) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(owner, response, granted)
        self._waiting.append(waiting)
        if give_up := next((one for one, holder in self._idle.items() if self._helps(holder, owner)), None):
            self.used(give_up)
            give_up()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._waiting.remove(waiting)
            else:
                self._leave(owner, response)
            raise

    def _leave(self, owner: str, response: object) -> None:
        self._count(owner, response, -1)
        while self._taken.total() < self._most:
            entitled = [one for one in self._waiting if not one.granted.done() and not self._has_share(one.owner)]
            if not entitled:
                return
            chosen = min(entitled, key=lambda one: (self._taken[one.owner], self._by_response[one.response]))
            self._waiting.remove(chosen)
            self._count(chosen.owner, chosen.response, 1)
            chosen.granted.set_result(None)

    def _count(self, owner: str, response: object, by: int) -> None:
        pairs: tuple[tuple[Counter[Any], object], ...] = ((self._taken, owner), (self._by_response, response))
        for counts, key in pairs:
            counts[key] += by
            if not counts[key]:
                del counts[key]


class Room:
    """The places of one process. Who calls holds a session already, so nobody waits for each other."""

    def __init__(self, most: int) -> None:
        self.sessions = Places(most)
        self.calls = Places(most)
        self._reading = asyncio.Lock()

    async def turn(self) -> None:
        """Returns when a long message may be read, which holds up the event loop: one after the other, between which
        everything else has its turn."""
        async with self._reading:
            for _ in range(PASSES):
                await asyncio.sleep(0)


class Share:
    """What one response of an owner takes of it."""

    def __init__(self, room: Room, owner: str) -> None:
        self._room = room
        self._owner = owner

    def session(self) -> AbstractAsyncContextManager[None]:
        return self._room.sessions.place(self._owner, self)

    def call(self) -> AbstractAsyncContextManager[None]:
        return self._room.calls.place(self._owner, self)

    async def turn(self) -> None:
        """Returns when a long message may be read."""
        await self._room.turn()

    def idle(self, give_up: Callable[[], None]) -> None:
        """A session is held and not used: `give_up` is called where somebody waits for one, now or later."""
        self._room.sessions.idle(self._owner, give_up)

    def used(self, give_up: Callable[[], None]) -> None:
        """It is used again, or closed."""
        self._room.sessions.used(give_up)
