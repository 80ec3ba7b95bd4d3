"""The limits we measure against, in a process of their own (`bench.host`) that has no web, no Redis and no parser.

`Loop`: bare llama_decode and sampling in one loop. `First`: our engine's own time to the first token.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from bench.child import Child


class Loop(Struct, tag=True):
    """As many sequences as texts, each generating `tokens` tokens after its prompt."""

    texts: list[str]
    tokens: int
    sampler: str  # llama: llama.cpp's own chain; numpy: the engine's


class First(Struct, tag=True):
    """The engine's first token for a prompt."""

    text: str
    instructions: str | None = None


class Timed(Struct):
    """Seconds: of each step, or of the one thing asked."""

    seconds: list[float]
    prompt_tokens: int


Native = Child[Timed]


def native(model: Path) -> Native:
    """A process that holds `model` for such measurements."""
    return Child("bench.host", Timed, str(model))
