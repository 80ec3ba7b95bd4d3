"""What HTTP did for one call. The SDK turns statuses and broken connections into general errors, or into none at all;
the transport writes down here what really happened, and stops here when the call is given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import anyio

from shared.schema.mcp import HttpError
from workers.mcp.intake import Answer


class Trace:
    """The HTTP requests of one call, or of opening a connection."""

    def __init__(self) -> None:
        self.sent = False  # whether anything was sent, so that the server may have acted on it
        self.failure: HttpError | None = None  # of the last request
        self.session_ended = False  # whether the server said that it knows the session no more
        self.listing: Answer | None = None  # what came of a list of tools, all pages together
        self._abandoned = False
        self._steps: set[anyio.CancelScope] = set()
        self.give_up: Callable[[], None] = _nothing  # called where no answer will come and the SDK would not notice

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for the call's answer; `give_up` ends the wait."""
        with anyio.CancelScope() as scope:
            self.give_up = scope.cancel
            yield

    @contextmanager
    def step(self) -> Iterator[anyio.CancelScope]:
        """Around one wait for the network; `abandon` ends it."""
        with anyio.CancelScope() as scope:
            self._steps.add(scope)
            if self._abandoned:
                scope.cancel()
            try:
                yield scope
            finally:
                self._steps.discard(scope)

    def abandon(self) -> None:
        """Nobody waits for the answer any more: what still runs for it ends."""
        self._abandoned = True
        for scope in self._steps:
            scope.cancel()


def _nothing() -> None: ...


CURRENT: ContextVar[Trace | None] = ContextVar("mcp_trace", default=None)
"""The call that is running here. The SDK sends each message in the context of the task that gave it."""
