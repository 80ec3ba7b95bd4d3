"""A request on its way through the engine: its tokens, how many of them are in the KV cache, and how it ends."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from workers.engine.core import Chunk, FinishReason, GenerationRequest, ImageCells, ModelInfo, TokenLogprob
from workers.engine.generation import Stream
from workers.engine.sampling import Sampler
from workers.engine.views import Gallery, Views

GROWTH = 256


class Sequence:
    """Belongs to the engine's thread once it is submitted."""

    def __init__(
        self, stream: Stream, context_length: int, end_tokens: frozenset[int], gallery: Gallery | None = None
    ) -> None:
        """`gallery`: where the embeddings of the request's pictures come from."""
        request = stream.request
        prompt = np.asarray(request.tokens, dtype=np.int32)
        self.stream = stream
        self.length = len(prompt)  # tokens known
        self.filled = 0  # tokens in the KV cache
        self.slot = -1  # the KV cache's id for it while it runs
        self.started = False  # it has had a slot
        self.spoken = False  # its first token was handed out
        self.decoding = False  # the prompt is done; each step adds a token
        self.number = 0  # by arrival
        self.finish: FinishReason | None = None
        self.views = Views(request.images, gallery)
        self.constraint = request.constraint
        self.sampler = Sampler(request.sampling, request.tokens[len(prompt) - request.generated :])
        self._tokens = prompt
        self._limit = context_length
        if request.max_tokens is not None:
            self._limit = min(context_length, len(prompt) + request.max_tokens)
        self._end_tokens = end_tokens | request.stop_tokens
        self._stop_token: int | None = None
        self._new: list[int] = []  # tokens for the next chunk
        self._logprobs: list[TokenLogprob] | None = None if request.sampling.top_logprobs is None else []

    @property
    def request(self) -> GenerationRequest:
        return self.stream.request

    @property
    def tokens(self) -> NDArray[np.int32]:
        """All tokens known. What is there never changes."""
        return self._tokens[: self.length]

    @property
    def pending(self) -> int:
        """Tokens that still have to go through the model."""
        return self.length - self.filled

    @property
    def position(self) -> int:
        """Of the next token to be computed."""
        return self.filled - self.views.saved(self.filled) if self.request.images else self.filled

    @property
    def image(self) -> ImageCells | None:
        """The image whose cells come next, or go on."""
        return self.views.at(self.filled)

    @property
    def text_ahead(self) -> int:
        """Tokens that still have to go through the model before the next image."""
        return self.views.next_start(self.filled, self.length) - self.filled

    @property
    def full(self) -> bool:
        """Whether there is no room for another token."""
        return self.length >= self._limit

    @property
    def wants_logprobs(self) -> bool:
        return self._logprobs is not None

    @property
    def needs_mask(self) -> bool:
        return self.constraint is not None and not self.constraint.free

    @property
    def last_token(self) -> int:
        return int(self._tokens[self.length - 1])

    def start(self) -> None:
        """Before the first sampling: what the grammar forces at the start goes through the model with the prompt."""
        self._follow_constraint()
        if self.finish is None and self.full:
            self.finish = "length"

    def advance(self, token: int, logprob: TokenLogprob | None = None) -> None:
        """Takes a sampled token, and those that the grammar then leaves no choice about."""
        if token in self._end_tokens:
            self.finish, self._stop_token = "stop", token
            return
        if self.constraint is not None and (others := self.constraint.instead(token)):
            self._force(others)
        else:
            self._append(token, logprob)
            if self.constraint is not None:
                self.constraint.accept(token)
        if self.constraint is not None:
            self._follow_constraint()
        if self.finish is None and self.full:
            self.finish = "length"

    def take_chunk(self) -> Chunk:
        """What came since the last one."""
        logprobs = None
        if self._logprobs is not None:
            logprobs, self._logprobs = tuple(self._logprobs), []
        chunk = Chunk(tuple(self._new), self.finish, self._stop_token, logprobs)
        self._new.clear()
        return chunk

    def _follow_constraint(self) -> None:
        constraint = self.constraint
        while constraint is not None and self.finish is None:
            if constraint.finished:
                self.finish = "stop"
                return
            # logprobs need the logits of each token: those that are forced are sampled too then, one per step
            forced = () if self.wants_logprobs else constraint.forced_tokens()
            if not forced or not self._force(forced):
                return

    def _force(self, tokens: Iterable[int]) -> bool:
        """Takes tokens that were not sampled; False where the output ends before the last of them."""
        assert self.constraint is not None
        for token in tokens:
            if token in self._end_tokens:
                self.finish, self._stop_token = "stop", token
                return False
            if self.full:
                return False
            self._append(token, TokenLogprob(token, 0.0))
            self.constraint.accept(token)
        return True

    def _append(self, token: int, logprob: TokenLogprob | None) -> None:
        if self._logprobs is not None and logprob is not None:
            self._logprobs.append(logprob)
        if self.length == len(self._tokens):
            self._tokens = np.concatenate((self._tokens, np.empty(max(GROWTH, self.length // 2), np.int32)))
        self._tokens[self.length] = token
        self.length += 1
        self._new.append(token)
        self.sampler.accept(token)


def ending(request: GenerationRequest, model: ModelInfo) -> Chunk | None:
    """The last chunk of a request that an earlier run has brought to its end; None where there is room for a token."""
    sequence = Sequence(Stream(request, lambda: None), model.context_length, model.end_tokens)
    if not sequence.full:
        return None
    sequence.start()
    return sequence.take_chunk()
