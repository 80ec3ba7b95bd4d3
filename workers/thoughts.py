"""How many tokens of an output belong to its reasoning."""

from __future__ import annotations

from collections import deque

from workers.dialects.base import Parser


class Thoughts:
    """Counts the tokens of the reasoning, its markers included. One that is only partly reasoning counts too."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._characters = 0
        self._settled = 0  # tokens of reasoning about which the parser will not change its mind
        self._waiting: deque[tuple[int, int]] = deque()  # the others: where they begin and end

    def add(self, characters: int) -> None:
        """One more token has been fed to the parser. One that has only a part of a character goes with that one."""
        begin = self._characters
        self._characters += characters
        self._waiting.append((begin, max(self._characters, begin + 1)))

    @property
    def tokens(self) -> int:
        """Tokens of reasoning, as far as the parser knows."""
        while self._waiting and self._waiting[0][1] <= self._parser.position:
            self._settled += self._thought(*self._waiting.popleft())
        return self._settled + sum(self._thought(*token) for token in self._waiting)

    def _thought(self, begin: int, end: int) -> bool:
        for thought in reversed(self._parser.thoughts):
            if thought.end is not None and thought.end <= begin:
                return False
            if thought.begin < end:
                return True
        return False
