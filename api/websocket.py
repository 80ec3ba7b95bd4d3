"""One WebSocket on `/v1/responses`: frames in, events out. What it remembers of them is in `api.memory`.

Frames of one lane (the same `stream_id`, or none) are answered one after the other, lanes at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from weakref import WeakValueDictionary

import structlog
from aiohttp import WSCloseCode, WSMsgType, web
from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.apart import apart
from api.cancellation import cancelling
from api.chores import Chores
from api.creation import Creation
from api.draining import Draining
from api.errors import ApiError, server_error, without_redis
from api.follower import ResponseGone
from api.frames import SteerFrame, error_frame, in_lane, lane_of, read_frame, steer_failed
from api.memory import Memory, Turn, turn_of
from api.readers import Reader
from api.sse import Wire
from api.streams import Streams
from api.validation import check_supported
from shared.redis import records
from shared.redis.records import Record
from shared.schema.events import is_terminal
from shared.schema.request import CreateFrame
from shared.schema.response import Response
from shared.settings import Settings

log = structlog.get_logger()


class Connection:
    """Serves one client until it leaves, or until it is retired and nothing runs any more."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        wire: Wire,
        redis: Redis,
        creation: Creation,
        streams: Streams,
        chores: Chores,
        settings: Settings,
        owner: str,
        draining: Draining,
        transport: asyncio.WriteTransport | None,
        count: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """`count` is called for each frame that comes, and raises ApiError where there are too many."""
        self._socket = socket
        self._transport = transport
        self._reader: Reader | None = None
        self._wire = wire
        self._redis = redis
        self._creation = creation
        self._streams = streams
        self._chores = chores
        self._settings = settings
        self.owner = owner
        self._draining = draining
        self._count = count
        self._memory = Memory(settings.max_body_bytes)
        self._lanes: WeakValueDictionary[str | None, asyncio.Lock] = WeakValueDictionary()
        self._answers: dict[asyncio.Task[None], int] = {}  # bytes of the frame that each answers; 0 once it has an end
        self._retired: ApiError | None = None
        self._closing: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Returns when the connection is closed; what still runs then is cancelled."""
        limit = asyncio.get_running_loop().call_later(self._settings.websocket_seconds, self.retire, _too_old())
        pings = asyncio.create_task(self._ping())
        try:
            with self._streams.readers.watching(self._transport) as self._reader:
                async for message in self._socket:
                    if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                        with suppress(ConnectionError):
                            await self._take(message.data, text=message.type is WSMsgType.TEXT)
        finally:
            limit.cancel()
            for task in (pings, *self._answers):
                task.cancel()
            ending = [pings, *self._answers, *([self._closing] if self._closing else [])]
            await asyncio.gather(*ending, return_exceptions=True)

    def retire(self, reason: ApiError) -> None:
        """Takes no more frames, and closes the connection as soon as nothing runs on it."""
        self._retired = self._retired or reason
        if not self._answers and self._closing is None:
            self._closing = asyncio.create_task(self._close(reason))

    async def _close(self, reason: ApiError) -> None:
        with suppress(ConnectionError):
            await self._send(error_frame(reason))
            await self._socket.close(code=WSCloseCode.GOING_AWAY, message=(reason.detail.code or "").encode())

    async def _ping(self) -> None:
        """Keeps proxies from closing a silent connection. Who does not answer is not cut off: a slow reader cannot."""
        with suppress(ConnectionError):
            while True:
                await asyncio.sleep(self._settings.ping_seconds)
                await self._socket.ping()

    async def _take(self, data: bytes, *, text: bool) -> None:
        """Starts to answer a frame, or says at once what is wrong with it. Meanwhile no other is read."""
        try:
            if self._count:
                await self._count()
            if not text:
                raise ApiError(400, "A binary frame: expected JSON in a text frame.", code="invalid_json")
            held = sum(self._answers.values())
            if held and held + len(data) > self._settings.max_body_bytes:
                raise _too_large_together(self._settings.max_body_bytes)
            frame = await apart(len(data), partial(read_frame, data, most_bytes=self._settings.max_body_bytes))
            if isinstance(frame, SteerFrame):
                await self._send(steer_failed(frame))
                return
            if self._retired:
                raise self._retired
            if sum(map(bool, self._answers.values())) >= self._settings.websocket_responses:
                raise _too_many(self._settings.websocket_responses)
        except ApiError as error:
            await self._send(error_frame(error, await apart(len(data), partial(lane_of, data))))
            return
        except RedisError as error:
            log.error("redis_failed", path="websocket", error=str(error))
            await self._send(error_frame(without_redis(error), await apart(len(data), partial(lane_of, data))))
            return
        task = asyncio.create_task(self._answer(frame))
        self._answers[task] = len(data)
        task.add_done_callback(self._answered)

    def _make_room(self) -> None:
        """Answers only: the frame does not count any more, as its client is about to know the end and to go on."""
        if (task := asyncio.current_task()) in self._answers:
            self._answers[task] = 0

    def _answered(self, task: asyncio.Task[None]) -> None:
        del self._answers[task]
        if self._retired:
            self.retire(self._retired)

    async def _answer(self, frame: CreateFrame) -> None:
        """Answers a frame when those before it in its lane have been."""
        lane = self._lanes.setdefault(frame.stream_id, asyncio.Lock())
        async with lane:
            try:
                await self._respond(frame)
            except ConnectionError:
                pass  # the client has left
            except ApiError as error:
                await self._refuse(frame, error)
            except RedisError as error:
                log.error("redis_failed", path="websocket", error=str(error))
                await self._refuse(frame, without_redis(error))
            except Exception:
                log.exception("frame_failed")
                await self._refuse(frame, server_error("The server met an unexpected error."))

    async def _refuse(self, frame: CreateFrame, error: ApiError) -> None:
        self._make_room()
        with suppress(ConnectionError):
            await self._send(error_frame(error, frame.stream_id))

    async def _respond(self, frame: CreateFrame) -> None:
        check_supported(frame)
        before = self._memory.get(frame.previous_response_id)
        draft = await self._creation.draft(frame, self.owner, before.chain() if before else None)
        response, first = draft.record.response, draft.events
        async with self._streams.events_of(response.id) as subscription, self._attended(response):
            await self._creation.create(draft)
            await self._send_events(first, frame)
            async for events in self._streams.follow(response.id, subscription, after=len(first) - 1, fresh=True):
                if events and is_terminal(events[-1]):  # before the client knows the end
                    if not response.store:
                        await self._remember(draft.record, events[-1], before)
                    self._make_room()
                await self._send_events(events, frame)

    @asynccontextmanager
    async def _attended(self, response: Response) -> AsyncIterator[None]:
        """A client that leaves cancels its response; at the end nothing is left of an unstored one. What is cut when
        this front end is stopped goes on where it is stored."""
        try:
            yield
        except ResponseGone:
            raise server_error(f"The response '{response.id}' was deleted before its end.") from None
        except ApiError:
            raise  # it was not created
        except BaseException:
            cut_off = self._draining.cut or (self._reader is not None and self._reader.cut_off)
            if response.store and cut_off:
                raise  # it may come back
            await self._chores.do(cancelling(self._redis, self._settings, response.id, self.owner), "cancel")
            raise
        finally:
            if not response.store:
                await self._chores.do(lambda: records.forget(self._redis, response.id), "forget")

    async def _remember(self, record: Record, terminal: bytes, before: Turn | None) -> None:
        """All that it takes is here: a Redis that is away keeps no end from the client."""
        size = len(terminal) + record.context_bytes - (before.text_bytes if before else 0)
        if turn := await apart(size, partial(turn_of, record, terminal, before)):
            self._memory.keep(record.response.id, turn)

    async def _send_events(self, events: list[bytes], frame: CreateFrame) -> None:
        for event in events:
            await self._send(in_lane(self._wire.message(event), frame.stream_id))

    def _send(self, encoded: bytes) -> Awaitable[None]:
        """Waits while the client reads slower than it is sent to; meanwhile nothing is collected for it."""
        if self._reader:
            self._reader.wrote(len(encoded))
        return self._socket.send_frame(encoded, WSMsgType.TEXT)


def _too_old() -> ApiError:
    message = "This connection has reached its time limit. Open a new one to go on."
    return ApiError(400, message, code="websocket_connection_limit_reached")


def _too_large_together(most: int) -> ApiError:
    message = (
        f"With what is answered or waits on this connection this frame is more than {most} bytes. Wait for an end."
    )
    return ApiError(429, message, type="rate_limit_error", code="websocket_bytes_limit_reached")


def _too_many(most: int) -> ApiError:
    message = f"{most} responses run or wait on this connection, which is the limit. Wait for the end of one."
    return ApiError(429, message, type="rate_limit_error", code="websocket_responses_limit_reached")
