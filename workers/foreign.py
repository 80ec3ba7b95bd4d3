"""Texts of remote servers in a prompt: they neither pass for the template's own markers nor fill the context alone."""

from __future__ import annotations

import re

from workers.engine.core import Engine

SHARE = 4  # the part of the context that one text may take: a quarter
LONGEST_TOKEN = 16  # characters; the rest of a longer text need not be looked at
APART = "\u200b"  # a space without width

_LEFT_OUT = "\n[The rest is left out: the result has {count} characters, which is too long for the context.]"


class ForeignText:
    """Makes texts harmless for one model. The same text is always shown the same way, so that prompts stay cached."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        model = engine.model
        written = model.chat_template or ""
        pieces = {token: engine.piece(token).decode(errors="replace") for token in model.special_tokens}
        markers = [
            text for token, text in pieces.items() if len(text) > 1 and (token in model.end_tokens or text in written)
        ]
        self._markers = re.compile("|".join(map(re.escape, sorted(markers, key=len, reverse=True))) or "(?!)")
        self._limit = model.context_length // SHARE

    def show(self, text: str) -> str:
        """The text as the model may read it: its beginning where it is long, no marker in one piece."""
        shown = self._beginning(text)
        if len(shown) < len(text):
            shown += _LEFT_OUT.format(count=len(text))
        return self._markers.sub(lambda found: found.group()[0] + APART + found.group()[1:], shown)

    def _beginning(self, text: str) -> str:
        """As much as takes the share of one text."""
        if len(text.encode(errors="replace")) <= self._limit:
            return text  # a token is at least a byte
        head = text[: LONGEST_TOKEN * self._limit]
        tokens = self._engine.tokenize(head, special=False)
        if len(tokens) <= self._limit:
            return head
        kept = b"".join(map(self._engine.piece, tokens[: self._limit])).decode(errors="ignore")
        return head[: len(kept)]
