"""How a response reaches its client: as a stream of events, or as its end alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

import msgspec
import structlog
from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import RedisError

from api import sse
from api.errors import ApiError, server_error
from api.follower import LogAway, ResponseGone, follow
from api.middleware import BROKEN, DELIVERED
from api.readers import Reader, Readers
from api.relay import Relay, Subscription
from shared.rebuild import conclusion, rebuild
from shared.redis import event_log, keys, records
from shared.redis.outage import outage
from shared.schema.events import is_terminal
from shared.schema.response import TERMINAL
from shared.settings import Settings

log = structlog.get_logger()

READER = web.RequestKey("READER", Reader)


def was_cut_off(request: web.Request) -> bool:
    """Whether the client was disconnected because it read nothing: it has not left, and may come back."""
    return READER in request and request[READER].cut_off


class _Terminal(msgspec.Struct):
    response: msgspec.Raw


_terminal = msgspec.json.Decoder(_Terminal)


def _gone(response_id: str) -> ApiError:
    """What ends the stream of a response that is not there any more."""
    message = f"The response '{response_id}' is gone: it was deleted, or the state store has lost it."
    return ApiError(404, message, code="response_not_found")


def _broken(after: int) -> ApiError:
    """What ends a stream that this front end cannot go on with."""
    return server_error(
        "The server met an unexpected error and cannot go on with this stream. A stored response goes on: "
        f"get the rest with starting_after={after}."
    )


@contextmanager
def _log_away() -> Iterator[None]:
    """Reading what a client waits for, where an outage of Redis is only a pause."""
    try:
        yield
    except RedisError as error:
        if outage(error) is None:
            raise
        raise LogAway from error


class Streams:
    """Follows responses on behalf of this process' clients."""

    def __init__(self, redis: Redis, relay: Relay, settings: Settings) -> None:
        self._redis = redis
        self._relay = relay
        self._settings = settings
        self.readers = Readers(settings.slow_reader_seconds)

    def events_of(self, response_id: str) -> Subscription:
        """To be entered before the response is created, or before its log is read."""
        return self._relay.subscription(keys.events_channel(response_id))

    def end_of(self, response_id: str) -> Subscription:
        return self._relay.subscription(keys.end_channel(response_id))

    async def send(
        self,
        request: web.Request,
        response_id: str,
        subscription: Subscription,
        *,
        first: Sequence[bytes] = (),
        after: int = -1,
    ) -> web.StreamResponse:
        """Sends the events above `after` as SSE to the end. `first` are those that this process has just made.

        Whatever goes wrong after the headers is told as an `error` event, and noted as BROKEN.
        """
        wire = sse.wire_of(request.headers, self._settings)
        stream = web.StreamResponse(headers=sse.HEADERS)
        await stream.prepare(request)
        with self._reading(request) as reader:
            if first:
                await _write(stream, reader, wire.frames(first))
                after = len(first) - 1
            spoke = time.monotonic()
            try:
                async for events in self.follow(response_id, subscription, after=after, fresh=bool(first)):
                    after += len(events)
                    if events:
                        ended = is_terminal(events[-1])
                        await _write(stream, reader, wire.frames(events) + (wire.done if ended else b""))
                        if ended:
                            request[DELIVERED] = True
                        spoke = time.monotonic()
                    elif time.monotonic() - spoke >= self._settings.ping_seconds:
                        await _write(stream, reader, sse.PING)
                        spoke = time.monotonic()
            except ResponseGone:
                await _write(stream, reader, wire.failure(_gone(response_id), after + 1) + wire.done)
            except ConnectionError:
                raise  # the client has left
            except Exception:
                log.exception("stream_failed", response_id=response_id)
                request[BROKEN] = True
                await _write(stream, reader, wire.failure(_broken(after), after + 1) + wire.done)
        await stream.write_eof()
        return stream

    async def send_rebuilt(self, request: web.Request, final: bytes, after: int) -> web.StreamResponse:
        """Sends the events of a response whose log has expired, made again from the final object."""
        wire = sse.wire_of(request.headers, self._settings)
        frames = wire.frames(rebuild(final, after)) + wire.done
        stream = web.StreamResponse(headers=sse.HEADERS)
        await stream.prepare(request)
        with self._reading(request) as reader:
            await _write(stream, reader, frames)
            request[DELIVERED] = True
        await stream.write_eof()
        return stream

    @contextmanager
    def _reading(self, request: web.Request) -> Iterator[Reader]:
        with self.readers.watching(request.transport) as reader:
            request[READER] = reader
            yield reader

    async def result(self, response_id: str, subscription: Subscription, timeout: float | None = None) -> bytes:
        """The Response object when it has ended, encoded. Raises ResponseGone, TimeoutError."""
        async with asyncio.timeout(timeout):
            while True:
                for terminal in await subscription.get(self._settings.silence_seconds):
                    return bytes(_terminal.decode(terminal).response)
                try:
                    with _log_away():
                        ended, encoded = await records.read_end(self._redis, response_id)
                except LogAway:
                    continue
                if encoded is None:
                    raise ResponseGone
                if ended:
                    return encoded

    def follow(
        self, response_id: str, subscription: Subscription, *, after: int, fresh: bool
    ) -> AsyncIterator[list[bytes]]:
        """The events above `after` in batches, to the terminal one; an empty batch is silence. Raises ResponseGone."""

        async def read_log(first: int) -> list[bytes]:
            with _log_away():
                return await event_log.read(self._redis, response_id, first)

        async def read_end(number: int) -> bytes | None:
            with _log_away():
                status = await records.read_status(self._redis, response_id)
                if status is not None and status not in TERMINAL:
                    return None
                _, final = await records.read_end(self._redis, response_id)
            if final is None:
                raise ResponseGone
            return conclusion(final, number)

        return follow(
            subscription,
            read_log,
            read_end,
            after=after,
            fresh=fresh,
            silence_seconds=min(self._settings.silence_seconds, self._settings.ping_seconds),
        )


async def _write(stream: web.StreamResponse, reader: Reader, data: bytes) -> None:
    """Waits while more than a little waits for the client to take it."""
    reader.wrote(len(data))
    await stream.write(data)
