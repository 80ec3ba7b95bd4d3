"""One Redis subscription per process, fanned out to the streams of its clients."""

from __future__ import annotations

import asyncio
import builtins
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError, RedisError, TimeoutError

from api.finishing import to_its_end
from shared.enduring import enduring

log = structlog.get_logger()

KEEP_ALIVE_CHANNEL = "lr:relay"  # a subscription that keeps the connection in pub/sub mode
RECONNECT_SECONDS = 0.2


class Subscription:
    """The messages of one channel for one reader. It holds a bounded number; a reader that is slower loses the rest
    and finds out by the gap."""

    def __init__(self, relay: Relay, channel: str, most_messages: int, most_bytes: int) -> None:
        self._relay = relay
        self.channel = channel
        self._messages: deque[bytes] = deque(maxlen=most_messages)
        self._most_bytes = most_bytes
        self.waiting = 0  # bytes
        self._poked = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, message: bytes) -> None:
        if len(self._messages) == self._messages.maxlen:
            self.waiting -= len(self._messages.popleft())
        self._messages.append(message)
        self.waiting += len(message)
        while self.waiting > self._most_bytes and len(self._messages) > 1:
            self.waiting -= len(self._messages.popleft())
        if self._waiter is not None:
            self._wake()

    def poke(self) -> None:
        """Wakes the reader without a message: something may have been missed."""
        self._poked = True
        self._wake()

    async def get(self, timeout: float) -> list[bytes]:
        """All messages that have come, at once; empty after `timeout` seconds of silence or when poked."""
        if not self._messages and not self._poked:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            silence = loop.call_later(timeout, self._wake)  # much cheaper than asyncio.timeout
            try:
                await self._waiter
            finally:
                silence.cancel()
                self._waiter = None
        self._poked = False
        messages = list(self._messages)
        self._messages.clear()
        self.waiting = 0
        return messages

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def __aenter__(self) -> Self:
        try:
            await self._relay.add(self)
        except BaseException:  # a client that leaves at this moment must not stay subscribed
            await to_its_end(self._relay.remove(self))
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._relay.remove(self)


class Relay:
    """The process' one connection in pub/sub mode, made anew whenever it is lost.

    `redis` is a client of its own that waits for answers without a time-out and tries nothing twice; `timeout` is how
    long Redis may be silent in answer to a ping or a subscription.
    """

    def __init__(self, redis: Redis, buffer_messages: int, buffer_bytes: int, timeout: float) -> None:
        """The limits of what is kept for one reader."""
        self._redis = redis
        self._limits = buffer_messages, buffer_bytes
        self._timeout = timeout
        self._pubsub: PubSub | None = None  # while it is connected
        self._connected = asyncio.Event()
        self._heard = False
        self._readers: dict[str, set[Subscription]] = {}
        self._confirmations: dict[str, asyncio.Future[None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connects; returns without a connection where Redis is away, and goes on trying."""
        self._task = asyncio.create_task(enduring(self._run, "relay"))
        with suppress(builtins.TimeoutError):
            async with asyncio.timeout(self._timeout):
                await self._connected.wait()

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._redis.aclose(close_connection_pool=True)

    @property
    def waiting(self) -> int:
        """Bytes that are kept for all readers."""
        return sum(reader.waiting for readers in self._readers.values() for reader in readers)

    def subscription(self, channel: str) -> Subscription:
        """A subscription to be entered with `async with`: inside, no message of the channel is missed. Entering raises
        redis' ConnectionError or TimeoutError while Redis is away."""
        return Subscription(self, channel, *self._limits)

    async def add(self, subscription: Subscription) -> None:
        channel, pubsub = subscription.channel, self._pubsub
        if pubsub is None:
            raise ConnectionError("not connected to Redis for subscriptions")
        self._readers.setdefault(channel, set()).add(subscription)
        try:
            async with asyncio.timeout(self._timeout):
                if channel not in self._confirmations:
                    self._confirmations[channel] = asyncio.get_running_loop().create_future()
                    await to_its_end(pubsub.subscribe(channel))  # others may wait for it, too
                await asyncio.shield(self._confirmations[channel])
        except BaseException as error:
            await self.remove(subscription)
            if isinstance(error, builtins.TimeoutError):
                raise TimeoutError("Redis did not confirm a subscription") from None
            raise

    async def remove(self, subscription: Subscription) -> None:
        channel = subscription.channel
        readers = self._readers.get(channel, set())
        readers.discard(subscription)
        if not readers and channel in self._readers:
            del self._readers[channel]
            self._confirmations.pop(channel, None)
            try:
                if self._pubsub is not None:
                    await self._pubsub.unsubscribe(channel)
            except RedisError as error:
                log.warning("unsubscribe_failed", error=str(error))

    async def _run(self) -> None:
        while True:
            pubsub = self._redis.pubsub()
            try:
                await self._serve(pubsub)
            except (RedisError, OSError) as error:
                log.warning("redis_unreachable", error=str(error))
            finally:
                self._pubsub = None
                self._connected.clear()
                self._refuse()
                with suppress(RedisError, OSError):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _serve(self, pubsub: PubSub) -> None:
        """Hands messages over until the connection is lost. Raises RedisError, OSError."""
        async with asyncio.timeout(self._timeout):
            await pubsub.subscribe(KEEP_ALIVE_CHANNEL, *self._readers)
        self._pubsub = pubsub
        self._connected.set()
        reading = asyncio.create_task(self._read(pubsub))
        try:
            while True:
                self._heard = False
                async with asyncio.timeout(self._timeout):
                    await pubsub.ping()
                await asyncio.wait([reading], timeout=self._timeout)
                if reading.done():
                    reading.result()
                    return
                if not self._heard:
                    raise TimeoutError("Redis does not answer a ping")
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, pubsub: PubSub) -> None:
        async for message in pubsub.listen():
            self._heard = True
            self._dispatch(message)

    def _refuse(self) -> None:
        """The connection is lost: what it had not confirmed it never will."""
        for channel, confirmation in list(self._confirmations.items()):
            if not confirmation.done():
                del self._confirmations[channel]
                confirmation.set_exception(ConnectionError("the connection to Redis was lost"))
                confirmation.exception()  # those who wait get it, if there is one

    def _dispatch(self, message: dict[str, object]) -> None:
        channel = message["channel"]
        if not isinstance(channel, bytes):
            return
        name = channel.decode()
        if message["type"] == "message":
            data = message["data"]
            for reader in self._readers.get(name, ()):
                reader.put(data)  # type: ignore[arg-type]
        elif message["type"] == "subscribe":
            confirmation = self._confirmations.get(name)
            if confirmation and not confirmation.done():
                confirmation.set_result(None)
            for reader in self._readers.get(name, ()):
                reader.poke()  # after a reconnect messages may be missing
