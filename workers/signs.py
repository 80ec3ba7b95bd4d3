"""When a silent response says a sign of life. Each one repeats the request's instructions and tools, in the log too, so
the longer it lasts the fewer they become."""

from __future__ import annotations

LONGEST = 16  # looks between two signs: 240 s with the default PING_SECONDS, and some clients give up after 300


class Signs:
    """Is told at every look, which is every PING_SECONDS, whether something else has happened since the last one."""

    def __init__(self) -> None:
        self._silent = 0
        self._due = 1

    def due(self, *, news: bool) -> bool:
        """Whether a sign is due: after one look without news, then after 2, 4, 8, and every LONGEST from then on."""
        if news:
            self._silent, self._due = 0, 1
            return False
        self._silent += 1
        if self._silent < self._due:
            return False
        self._silent, self._due = 0, min(2 * self._due, LONGEST)
        return True
