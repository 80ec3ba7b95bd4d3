"""Templates that put reasoning between `<think>` and `</think>` before the answer, or have no reasoning at all."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from workers.dialects.base import Piece

OPEN, CLOSE = "<think>", "</think>"


class ThinkingDialect:
    """Qwen3, QwQ, DeepSeek R1 and every model without markers of its own."""

    def template_variables(self, effort: str | None) -> dict[str, Any]:
        if effort is None:
            return {}
        return {"reasoning_effort": effort, "enable_thinking": effort != "none", "thinking": effort != "none"}

    def parser(self, prompt: str) -> ThinkingParser:
        return ThinkingParser(inside=prompt.rstrip().endswith(OPEN))


class _State(Enum):
    START = auto()  # nothing but white space so far: reasoning may open
    REASONING = auto()
    AFTER = auto()  # line breaks between reasoning and answer
    TEXT = auto()


class ThinkingParser:
    """Splits reasoning from text. Line breaks next to the markers belong to the format and are dropped."""

    def __init__(self, *, inside: bool) -> None:
        self._state = _State.REASONING if inside else _State.START
        self._fresh = inside  # reasoning has just opened: its leading line breaks are the format's
        self._held = ""

    @property
    def reasoning(self) -> bool:
        return self._state is _State.REASONING

    def feed(self, text: str) -> list[Piece]:
        pieces: list[Piece] = []
        self._held += text
        while self._step(pieces):
            pass
        return pieces

    def finish(self) -> list[Piece]:
        held, self._held = self._held, ""
        if not held or self._state is _State.AFTER:
            return []
        return [Piece("reasoning" if self.reasoning else "text", held)]

    def _step(self, pieces: list[Piece]) -> bool:
        """Moves on as far as the held text allows; True when the state changed and there may be more."""
        held = self._held
        if self._state is _State.START:
            visible = held.lstrip()
            if visible.startswith(OPEN):
                self._state, self._fresh, self._held = _State.REASONING, True, visible[len(OPEN) :]
                return True
            if OPEN.startswith(visible):
                return False
            self._state = _State.TEXT
            return True
        if self._state is _State.REASONING:
            return self._read_reasoning(pieces)
        if self._state is _State.AFTER:
            self._held = held.lstrip("\r\n")
            if self._held:
                self._state = _State.TEXT
            return bool(self._held)
        if held:
            pieces.append(Piece("text", held))
            self._held = ""
        return False

    def _read_reasoning(self, pieces: list[Piece]) -> bool:
        held = self._held.lstrip("\r\n") if self._fresh else self._held
        end = held.find(CLOSE)
        if end >= 0:
            if thought := held[:end].rstrip("\r\n"):
                pieces.append(Piece("reasoning", thought))
            self._state, self._held = _State.AFTER, held[end + len(CLOSE) :]
            return True
        sure = len(held) - _could_begin(held, CLOSE)
        sure = len(held[:sure].rstrip("\r\n"))
        if sure:
            pieces.append(Piece("reasoning", held[:sure]))
            self._fresh = False
        self._held = held[sure:]
        return False


def _could_begin(text: str, marker: str) -> int:
    """Length of the longest end of `text` that is a beginning of `marker`."""
    for size in range(min(len(text), len(marker) - 1), 0, -1):
        if marker.startswith(text[-size:]):
            return size
    return 0
