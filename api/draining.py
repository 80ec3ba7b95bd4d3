"""The end of a front end: what it is answering goes on for a while, then it is cut.

aiohttp alone would wait for twice its time-out, and a handler that it cancels looks like one whose client has left. But
what is cut here can be resumed at another front end, so it is not cancelled.
"""

from __future__ import annotations

import asyncio

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from api.errors import unavailable
from api.middleware import STARTED

log = structlog.get_logger()

CUT_SECONDS = 2.0  # for what is cut to come to its end: cancelling what nobody can resume


class Draining:
    """The requests that are being answered. `cut`: no client has left, this front end has."""

    def __init__(self, seconds: float) -> None:
        self.cut = False
        self._seconds = seconds
        self._running: dict[asyncio.Future[None], asyncio.Task[object]] = {}

    def install(self, app: web.Application) -> None:
        """To be called after whatever makes requests end sooner has been added to `on_shutdown`."""
        app.on_shutdown.append(self._drain)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Knows of the request while it is answered; an answer that is cut before it began says so."""
        task, over = asyncio.current_task(), asyncio.get_running_loop().create_future()
        assert task is not None
        self._running[over] = task
        try:
            return await handler(request)
        except asyncio.CancelledError:
            if not self.cut or STARTED in request:
                raise
            task.uncancel()
            return unavailable("This front end is being stopped. Try again.", code="server_restarting").response()
        finally:
            del self._running[over]
            over.set_result(None)

    async def _drain(self, app: web.Application) -> None:
        if self._running:
            log.info("web_draining", running=len(self._running))
            await asyncio.wait(list(self._running), timeout=self._seconds)
        self.cut = True
        if self._running:
            log.info("web_cuts", running=len(self._running))
            for task in self._running.values():
                task.cancel()
            await asyncio.wait(list(self._running), timeout=CUT_SECONDS)
