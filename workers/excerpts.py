"""What a prompt shows of a long text that somebody else's server sent: no single one may fill the context."""

from __future__ import annotations

from workers.engine.core import Engine

SHARE = 4  # one text takes a quarter of the context at most
LONGEST_TOKEN = 16  # characters; the rest of a longer text need not be looked at

_LEFT_OUT = "\n[The rest is left out: the result has {count} characters, which is too long for the context.]"


class Excerpts:
    """Beginnings of long texts for one model. A text is always shown the same way, so that prompts stay cached."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._limit = engine.model.context_length // SHARE

    def of(self, text: str) -> str:
        """The text, or its beginning with a note."""
        if len(text.encode(errors="replace")) <= self._limit:
            return text  # a token is at least a byte
        head = text[: LONGEST_TOKEN * self._limit]
        tokens = self._engine.tokenize(head, special=False)
        if len(tokens) > self._limit:
            kept = b"".join(map(self._engine.piece, tokens[: self._limit])).decode(errors="ignore")
            head = head[: len(kept)]
        return head if len(head) == len(text) else head + _LEFT_OUT.format(count=len(text))
