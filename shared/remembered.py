"""What was found out about texts, as long as it was asked for lately. May be used from any thread."""

from __future__ import annotations

import threading
from collections import OrderedDict
from hashlib import sha256
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """At most `entries` answers, whose sizes add up to at most `size`; texts are kept by their digests alone."""

    def __init__(self, entries: int, size: int) -> None:
        self._entries = entries
        self._room = size
        self._answers: OrderedDict[bytes, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, text: str) -> T | None:
        """The answer to a text; None where it is not known."""
        digest = _digest(text)
        with self._lock:
            if (known := self._answers.get(digest)) is None:
                return None
            self._answers.move_to_end(digest)
            return known[0]

    def put(self, text: str, answer: T, size: int) -> None:
        """Keeps an answer of a size, and forgets those that were asked for least lately."""
        digest = _digest(text)
        with self._lock:
            self._forget(digest)
            self._answers[digest] = answer, size
            self._room -= size
            while len(self._answers) > self._entries or self._room < 0:
                self._forget(next(iter(self._answers)))

    def _forget(self, digest: bytes) -> None:
        if (known := self._answers.pop(digest, None)) is not None:
            self._room += known[1]


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="surrogatepass")).digest()
