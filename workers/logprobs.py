"""Which tokens a stretch of answer text was made of: their probabilities go with it."""

from __future__ import annotations

from collections import deque

from shared.schema.content import Logprob, TopLogprob
from workers.engine.core import Engine, TokenLogprob


class LogprobTrail:
    """Remembers the tokens read so far until the parser gives out their text, or something else became of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tokens: deque[tuple[bytes, TokenLogprob]] = deque()

    def add(self, token: TokenLogprob) -> None:
        self._tokens.append((self._engine.piece(token.token), token))

    def forget(self) -> None:
        """The tokens so far were a marker or reasoning."""
        self._tokens.clear()

    def take(self, text: str) -> list[Logprob]:
        """The tokens that `text`, just given out, was made of. A parser gives text out in order and drops none of it
        but markers and line breaks before it, so it is the last ones whose bytes it has room for."""
        room = len(text.encode())
        taken: deque[tuple[bytes, TokenLogprob]] = deque()
        while self._tokens and len(self._tokens[-1][0]) <= room:
            piece, token = self._tokens.pop()
            room -= len(piece)
            taken.appendleft((piece, token))
        self._tokens.clear()
        return [self._logprob(piece, token) for piece, token in taken]

    def _logprob(self, piece: bytes, token: TokenLogprob) -> Logprob:
        return Logprob(
            token=_readable(piece),
            bytes=list(piece),
            logprob=token.logprob,
            top_logprobs=[self._top(other, logprob) for other, logprob in token.top],
        )

    def _top(self, token: int, logprob: float) -> TopLogprob:
        piece = self._engine.piece(token)
        return TopLogprob(token=_readable(piece), bytes=list(piece), logprob=logprob)


def _readable(piece: bytes) -> str:
    return piece.decode(errors="replace")
