"""A TCP proxy between processes that can do what networks do: pass, cut, fall silent (half-open), delay.

async with Proxy(redis.port) as proxy:
    ...                     # processes are given `proxy.redis_url`
    proxy.cut()             # every connection is reset, new ones too
    proxy.heal()
    proxy.hang()            # connections stay open and nothing comes through; new ones are accepted, and silent
    proxy.heal(drop=True)   # ... and those that hung are reset instead of going on with what they held back
    proxy.delay(0.2)        # everything comes so much later
    proxy.swallow(b"GET")   # the reply to the next request that contains this is lost, and its connection
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from types import TracebackType
from typing import Self

CHUNK = 65536


class Proxy:
    """Listens on a port of 127.0.0.1, the same one for its whole life, for a server on `port`.

    `tls` is a server's context: clients then have to speak TLS, and the server behind still hears plain text.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None) -> None:
        self.target = (host, port)
        self.port = 0
        self.accepted = 0  # connections so far, refused ones too
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._is_cut = False
        self._delay = 0.0
        self._swallowing: list[tuple[bytes, asyncio.Event]] = []  # each for one reply
        self._requests, self._replies = asyncio.Event(), asyncio.Event()
        self.heal()

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def cut(self) -> None:
        """Resets every connection, and each new one as soon as it is accepted, until `heal`."""
        self._is_cut = True
        self.reset()

    def reset(self) -> None:
        """Resets every connection once; new ones are served."""
        for connection in list(self._connections):
            connection.abort()

    def hang(self, *, requests: bool = True, replies: bool = True) -> None:
        """Lets nothing through in these directions until `heal`. With `requests=False` what clients send arrives and is
        done, but they never hear of it."""
        for gate, closed in ((self._requests, requests), (self._replies, replies)):
            gate.clear() if closed else gate.set()

    def delay(self, seconds: float) -> None:
        """Everything arrives so much later, each way; 0 ends that."""
        self._delay = seconds

    def swallow(self, marker: bytes, times: int = 1) -> asyncio.Event:
        """The next `times` requests that contain `marker` arrive and are done, but instead of a reply each gets a reset
        of its connection. What is returned is set with the last one."""
        self._swallowing += [(marker, asyncio.Event()) for _ in range(times)]
        return self._swallowing[-1][1]

    def heal(self, *, drop: bool = False) -> None:
        """Passes everything again; with `drop` connections that exist now are reset first."""
        if drop:
            self.reset()
        self._is_cut = False
        self._delay = 0.0
        self._requests.set()
        self._replies.set()

    async def start(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        self.reset()
        if self._server:
            self._server.close()
            await self._server.wait_closed()
        while self._connections:
            await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection(reader, writer)
        if self._is_cut:
            connection.abort()
            return
        self._connections.add(connection)
        try:
            await connection.run(self)
        finally:
            self._connections.discard(connection)
            connection.abort()

    async def pump(
        self,
        gate: asyncio.Event,
        source: asyncio.StreamReader,
        sink: Callable[[], asyncio.StreamWriter],
        sees: Callable[[bytes], bool],
    ) -> None:
        """Connections only: passes on what comes and `sees` lets through, when it may, until the source ends."""
        while chunk := await source.read(CHUNK):
            if self._delay:
                await asyncio.sleep(self._delay)
            await gate.wait()
            if not sees(chunk):
                return
            sink().write(self.passed(chunk))
            await sink().drain()

    def passed(self, chunk: bytes) -> bytes:
        """What arrives of a chunk; for proxies that change what they pass on."""
        return chunk

    def swallowing(self, request: bytes) -> asyncio.Event | None:
        """Connections only: what is to be set when the reply to this request has been swallowed, if it is to be."""
        for index, (marker, swallowed) in enumerate(self._swallowing):
            if marker in request:
                del self._swallowing[index]
                return swallowed
        return None

    @property
    def gates(self) -> tuple[asyncio.Event, asyncio.Event]:
        """Connections only: what requests and replies wait for."""
        return self._requests, self._replies


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writers = [writer]
        self._task: asyncio.Task[None] | None = None
        self._aborted = False
        self._swallowed: asyncio.Event | None = None  # set when the next reply has come

    async def run(self, proxy: Proxy) -> None:
        self._task = asyncio.current_task()
        requests, replies = proxy.gates

        def request(chunk: bytes) -> bool:
            self._swallowed = self._swallowed or proxy.swallowing(chunk)
            return True

        def reply(_: bytes) -> bool:
            if self._swallowed is None:
                return True
            self._swallowed.set()
            return False

        with suppress(OSError, asyncio.CancelledError):
            await requests.wait()
            upstream, sink = await asyncio.open_connection(*proxy.target)
            self._writers.append(sink)
            pumps = {
                asyncio.ensure_future(proxy.pump(requests, self._reader, lambda: sink, request)),
                asyncio.ensure_future(proxy.pump(replies, upstream, lambda: self._writers[0], reply)),
            }
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)

    def abort(self) -> None:
        """Resets both sides: what is still on its way is lost."""
        if self._aborted:
            return
        self._aborted = True
        for writer in self._writers:
            raw = writer.get_extra_info("socket")
            with suppress(OSError, AttributeError):  # a TLS transport that has been closed has no socket any more
                raw.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))  # close sends RST
            writer.transport.abort()
        if self._task and self._task is not asyncio.current_task():
            self._task.cancel()
