"""Engines for tests that kill their process: so slow that a kill always meets an answer half-way, and exact.

A worker started with `tests.chaos.worker` plays scripts for model files named F16 and runs llama.cpp for the others,
both at a fixed pace. Each generation is noted in a file: so a test knows which responses a lost worker was running.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from workers.engine.core import (
    Chunk,
    Engine,
    EngineStats,
    GenerationRequest,
    ModelInfo,
    Picture,
    Reading,
)
from workers.engine.generation import Generation
from workers.engine.scripted import Script, ScriptedEngine

THINKING = 12  # words of reasoning before a scripted answer
_WORDS = re.compile(r"Say (\d+) words")
_ALPHABET = ("tide", "wörld", "zwölf", "鯨", "🙂", "ok", "naïve", "done")


def words(count: int) -> str:
    """What the scripted engine answers to `Say COUNT words`: characters of several bytes, each byte a token."""
    return " ".join(f"{_ALPHABET[i % len(_ALPHABET)]}{i}" for i in range(count))


def thoughts() -> str:
    """What the scripted engine thinks before it answers."""
    return " ".join(f"hm{i}" for i in range(THINKING))


def scripted() -> ScriptedEngine:
    """An engine whose answer depends on the prompt alone, wherever it is taken up: `Say 30 words`."""
    engine = ScriptedEngine()

    def script(request: GenerationRequest) -> Script:
        prompt = engine.text(request.tokens[: len(request.tokens) - request.generated])
        count = int((_WORDS.findall(prompt) or ["10"])[-1])
        text = (f"{thoughts()}</think>" if "<think>" in prompt else f"<think>{thoughts()}</think>") + words(count)
        return Script(*(engine.piece(token) for token in engine.tokenize(text)[request.generated :]))

    engine._default = script
    return engine


class PacedEngine:
    """An engine whose tokens come one by one, `pace` seconds apart."""

    def __init__(self, inner: Engine, pace: float, notes: TextIO) -> None:
        self._inner = inner
        self._pace = pace
        self._notes = notes

    @property
    def model(self) -> ModelInfo:
        return self._inner.model

    @property
    def stats(self) -> EngineStats:
        return self._inner.stats

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        return self._inner.tokenize(text, special=special)

    def read(self, parts: Sequence[str | Picture]) -> Reading:
        return self._inner.read(parts)

    def piece(self, token: int) -> bytes:
        return self._inner.piece(token)

    def generate(self, request: GenerationRequest) -> Generation:
        return _Paced(self._inner.generate(request), self._pace, self._notes)

    async def close(self) -> None:
        await self._inner.close()


class _Paced(Generation):
    """A generation, token by token. What it has begun and ended is noted: `+ID`, `-ID`."""

    def __init__(self, inner: Generation, pace: float, notes: TextIO) -> None:
        self._inner = inner
        self._pace = pace
        self._notes = notes
        self._ready: deque[Chunk] = deque()
        notes.write(f"+{inner.request.id}\n")

    @property
    def request(self) -> GenerationRequest:
        return self._inner.request

    @property
    def cached_tokens(self) -> int:
        return self._inner.cached_tokens

    def cancel(self) -> None:
        self._inner.cancel()

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __anext__(self) -> Chunk:
        if not self._ready:
            self._ready.extend(_pieces(await anext(self._inner)))
        if self._ready[0].tokens:
            await asyncio.sleep(self._pace)
        return self._ready.popleft()

    def __del__(self) -> None:
        self._notes.write(f"-{self._inner.request.id}\n")
        self._inner.cancel()


def _pieces(chunk: Chunk) -> Iterator[Chunk]:
    for at, token in enumerate(chunk.tokens):
        yield Chunk((token,), logprobs=chunk.logprobs[at : at + 1] if chunk.logprobs is not None else None)
    if chunk.finish or not chunk.tokens:
        yield Chunk((), chunk.finish, chunk.stop_token)


def notes_file(path: Path) -> TextIO:
    """Where generations are noted, a line at a time."""
    return path.open("a", buffering=1)


def noted(path: Path) -> set[str]:
    """The responses that the worker with this file is generating."""
    running: dict[str, int] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        running[line[1:]] = running.get(line[1:], 0) + (1 if line[0] == "+" else -1)
    return {response_id for response_id, count in running.items() if count > 0}
