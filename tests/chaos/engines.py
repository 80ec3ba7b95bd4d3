"""Engines for tests that kill their process: so slow that a kill always meets an answer half-way, and exact.

A worker started with `tests.chaos.worker` plays scripts for model files named F16 and runs llama.cpp for the others,
both at a fixed pace. Each generation is noted in a file: so a test knows which responses a lost worker was running.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

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

TEMPLATE = Path(__file__).parent.parent / "workers" / "dialects" / "templates" / "Qwen-Qwen3-0.6B.jinja"
FALL = "Fall over"  # a prompt that ends the scripted engine's process before anything is generated
EACH = "each"  # in the file `hold` of a worker, see `Manners`
THINKING = 12  # words of reasoning before a scripted answer
_WORDS = re.compile(r"Say (\d+) words")
_TOOLS = re.compile(r"Use (one tool|both tools) with (~[0-9a-f]+)")
_ALPHABET = ("tide", "wörld", "zwölf", "鯨", "🙂", "ok", "naïve", "done")


def words(count: int) -> str:
    """What the scripted engine answers to `Say COUNT words`: characters of several bytes, each byte a token."""
    return " ".join(f"{_ALPHABET[i % len(_ALPHABET)]}{i}" for i in range(count))


def thoughts() -> str:
    """What the scripted engine thinks before it answers."""
    return " ".join(f"hm{i}" for i in range(THINKING))


def calls(prompt: str, which: str, key: str) -> str:
    """What the scripted engine does about `Use both tools with KEY`: two calls at once, then one, then an answer."""

    def call(name: str, number: int) -> str:
        arguments = f'{{"key": "{key}-{number}"}}'
        return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'

    match prompt.count("<tool_response>"):
        case 0 if which == "one tool":
            return call("look", 0)
        case 0:
            return f"{call('look', 0)}\n{call('change', 1)}"
        case 2:
            return call("change", 2)
    return words(2)


def scripted() -> ScriptedEngine:
    """An engine whose answer depends on the prompt alone, wherever it is taken up: `Say 30 words`."""
    engine = ScriptedEngine(chat_template=TEMPLATE.read_text())

    def script(request: GenerationRequest) -> Script:
        prompt = engine.text(request.tokens[: len(request.tokens) - request.generated])
        if FALL in prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        if asked := _TOOLS.findall(prompt):
            text = calls(prompt, *asked[-1])
            return Script(*(engine.piece(token) for token in engine.tokenize(text)[request.generated :]))
        count = int((_WORDS.findall(prompt) or ["10"])[-1])
        text = (f"{thoughts()}</think>" if "<think>" in prompt else f"<think>{thoughts()}</think>") + words(count)
        return Script(*(engine.piece(token) for token in engine.tokenize(text)[request.generated :]))

    engine._default = script
    return engine


class Manners:
    """How a worker's generations come: token by token, `pace` seconds apart.

    While the file `hold` exists, those that were begun here stop in the middle of what they are about: a call's
    arguments, a JSON text, anything that is long. Taken over by another worker they are not held, unless the file says
    EACH: then they stop there too, a little further on.
    """

    LONG = 75  # tokens: longer than any call or JSON text with its reasoning
    LITTLE = 30  # tokens
    MIDDLE = re.compile(r'"location": ?"S|"name": ?"B')  # of the recipes' calls and JSON

    def __init__(self, pace: float, notes: Path) -> None:
        self._pace = pace
        self._hold = held_by(notes)
        self._notes = notes.open("a", buffering=1)

    def begin(self, response_id: str) -> None:
        self._notes.write(f"+{response_id}\n")

    def end(self, response_id: str) -> None:
        self._notes.write(f"-{response_id}\n")

    async def wait(self, tokens: int, text: str) -> None:
        """Between two tokens, after so many and this text."""
        await asyncio.sleep(self._pace)
        while self._hold.exists() and (tokens >= self.LONG or self.MIDDLE.search(text)):
            await asyncio.sleep(0.02)

    async def wait_further_on(self, tokens: int) -> None:
        """Between two tokens of one that was taken over, after so many here."""
        await asyncio.sleep(self._pace)
        while tokens >= self.LITTLE and self._each_is_held():
            await asyncio.sleep(0.02)

    def _each_is_held(self) -> bool:
        with suppress(FileNotFoundError):
            return self._hold.read_text() == EACH
        return False


class PacedEngine:
    """An engine whose generations have manners."""

    def __init__(self, inner: Engine, manners: Manners) -> None:
        self._inner = inner
        self._manners = manners

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
        return _Paced(self._inner, self._inner.generate(request), self._manners)

    async def close(self) -> None:
        await self._inner.close()


class _Paced(Generation):
    """A generation, token by token. What it has begun and ended is noted: `+ID`, `-ID`."""

    def __init__(self, engine: Engine, inner: Generation, manners: Manners) -> None:
        self._engine = engine
        self._inner = inner
        self._manners = manners
        self._ready: deque[Chunk] = deque()
        self._said = b""
        self._tokens = 0
        manners.begin(inner.request.id)

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
        if self._inner.request.generated == 0:
            await self._manners.wait(self._tokens, self._said.decode(errors="replace"))
        else:
            await self._manners.wait_further_on(self._tokens)
        piece = self._ready.popleft()
        self._tokens += len(piece.tokens)
        self._said += b"".join(map(self._engine.piece, piece.tokens))
        return piece

    def __del__(self) -> None:
        self._manners.end(self._inner.request.id)
        self._inner.cancel()


def _pieces(chunk: Chunk) -> Iterator[Chunk]:
    for at, token in enumerate(chunk.tokens):
        yield Chunk((token,), logprobs=chunk.logprobs[at : at + 1] if chunk.logprobs is not None else None)
    if chunk.finish or not chunk.tokens:
        yield Chunk((), chunk.finish, chunk.stop_token)


def held_by(notes: Path) -> Path:
    """The file that holds the generations of the worker with these notes."""
    return notes.with_suffix(".hold")


def noted(path: Path) -> set[str]:
    """The responses that the worker with this file is generating."""
    running: dict[str, int] = {}
    for line in _lines(path):
        running[line[1:]] = running.get(line[1:], 0) + (1 if line[0] == "+" else -1)
    return {response_id for response_id, count in running.items() if count > 0}


def begun(path: Path) -> set[str]:
    """The responses that the worker with this file has begun to generate, those that have ended too."""
    return {line[1:] for line in _lines(path) if line[0] == "+"}


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
