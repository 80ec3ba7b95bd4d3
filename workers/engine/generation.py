"""A running generation: the stream an engine writes to, and the handle its consumer reads from."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from workers.engine.core import Chunk, GenerationRequest


class Stream:
    """The engine's end. Belongs to one event loop; only `cancel` may be called from anywhere.

    An engine holds on to its streams, never to the `Generation`: a consumer that forgets its generation ends it.
    """

    def __init__(self, request: GenerationRequest, on_cancel: Callable[[], None]) -> None:
        self.request = request
        self.cached_tokens = 0
        self.ended = False  # the last chunk or the error has been put
        self._cancel = on_cancel
        self._chunks: deque[Chunk] = deque()
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, chunk: Chunk) -> None:
        """Hands over one chunk."""
        self._chunks.append(chunk)
        if chunk.finish is not None:
            self._end()
        self._wake()

    def merge(self, chunk: Chunk) -> None:
        """Hands over one chunk, joined to the one before if the consumer has not taken that yet."""
        if self._chunks:
            chunk = self._chunks.pop() + chunk
        self.put(chunk)

    def fail(self, error: BaseException) -> None:
        """Ends the stream: `error` is raised after the chunks already put."""
        self._error = error
        self._end()
        self._wake()

    def cancel(self) -> None:
        self._cancel()

    async def take(self) -> Chunk:
        """The next chunk. Raises StopAsyncIteration after the last, or what the stream failed with."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self.ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._chunks.popleft()

    def _end(self) -> None:
        self.ended = True
        self._cancel = _nothing  # it may refer to the stream

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _nothing() -> None:
    """An ended generation has nothing to cancel."""


class Generation:
    """The chunks of one request, for one consumer: `async for chunk in generation`.

    The last chunk has `finish` set. Leaving it behind (`aclose`, or dropping every reference) cancels the request.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    @property
    def request(self) -> GenerationRequest:
        return self._stream.request

    @property
    def prompt_tokens(self) -> int:
        return len(self._stream.request.tokens)

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens found in the KV cache; known from the first chunk on."""
        return self._stream.cached_tokens

    def cancel(self) -> None:
        """Ends it at the next step boundary with a chunk whose finish is "cancelled", unless another end is first."""
        self._stream.cancel()

    async def aclose(self) -> None:
        self._stream.cancel()

    def __aiter__(self) -> Generation:
        return self

    async def __anext__(self) -> Chunk:
        return await self._stream.take()

    def __del__(self) -> None:
        self._stream.cancel()
