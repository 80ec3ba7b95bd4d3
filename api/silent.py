"""Connections on which no request comes: aiohttp alone would keep one for an hour, with half a request's head, too.

A connection that is kept alive after an answer may be silent for as long as before; what counts is the time from its
first byte, or from that of its next request, to the end of the request's headers.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web_server
from aiohttp.web_protocol import RequestHandler


def install() -> None:
    """For all applications of this process; those that give no `head_seconds` in their `handler_args` set no limit."""
    web_server.RequestHandler = PatientHandler  # type: ignore[attr-defined]


class PatientHandler(RequestHandler):
    """One connection."""

    __slots__ = ("_head_seconds", "_limit")

    def __init__(self, manager: web_server.Server, *, head_seconds: float = 0.0, **options: Any) -> None:
        super().__init__(manager, **options)
        self._head_seconds = head_seconds
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        super().data_received(data)
        if self._request_count > before:
            self._arrived()
        elif self._waiter and not self._waiter.done():  # no request is being answered: this begins the next one
            self._expect()

    def _expect(self) -> None:
        if self._head_seconds and self._limit is None and not self._force_close:
            self._limit = self._loop.call_later(self._head_seconds, self.force_close)

    def _arrived(self) -> None:
        if self._limit:
            self._limit.cancel()
            self._limit = None
