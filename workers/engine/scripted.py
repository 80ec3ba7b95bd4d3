"""An engine that plays scripts: exact tokens and timing for tests of everything above the engine.

    engine = ScriptedEngine()
    engine.play(Script("Hel", "lo", gate := asyncio.Event(), " wörld"))     # the answer to the next request
    engine.play(Script(("two", " tokens in one chunk"), b"\\xf0\\x9f", b"\\x98\\x80"))
    engine.play(Script("half", EngineFailed("the worker's GPU caught fire")))
    engine.play(lambda request: Script(engine.text(request.tokens)))        # an echo

Its vocabulary is the 256 bytes, the special tokens, and every piece a script names (added as it is played).
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.engine.core import (
    Chunk,
    EngineFailed,
    EngineStats,
    FinishReason,
    GenerationRequest,
    ImageCells,
    ModelInfo,
    Picture,
    PictureRefused,
    PromptTooLong,
    Reading,
    TokenLogprob,
)
from workers.engine.generation import Generation, Stream
from workers.engine.images import FIRST, ImageNumbers, run

Piece = str | bytes
Step = Piece | tuple[Piece, ...] | asyncio.Event | float | BaseException
"""A chunk (one piece is one token), something to wait for (an event, or seconds), or an error to end with."""

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PICTURE_CELLS = 16  # whatever its size
SPECIAL_TOKENS = ("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "</tool_call>")


class Script:
    """One answer: its steps, then the end."""

    def __init__(self, *steps: Step, finish: FinishReason = "stop", cached_tokens: int = 0) -> None:
        self.steps = steps
        self.finish = finish
        self.cached_tokens = cached_tokens


@dataclass(slots=True)
class _Running:
    stream: Stream
    cancelled: asyncio.Event
    task: asyncio.Task[None] | None = None


class ScriptedEngine:
    """Plays one script per request, in order; `default` when none is left. All state is on the event loop."""

    def __init__(
        self,
        default: Script | Callable[[GenerationRequest], Script] | None = None,
        *,
        context_length: int = 32768,
        chat_template: str | None = CHATML,
        special_tokens: Sequence[str] = SPECIAL_TOKENS,
        vision: bool = False,
    ) -> None:
        """`special_tokens[0]` ends a generation that finishes with "stop". `vision`: pictures have PICTURE_CELLS."""
        self.requests: list[GenerationRequest] = []  # everything it was asked, in order
        self.cancelled: list[str] = []  # ids of the requests that were cancelled while they ran
        self.closed = False
        self._default = default or Script("ok")
        self._scripts: deque[Script | Callable[[GenerationRequest], Script]] = deque()
        self._pieces: list[bytes] = [bytes([value]) for value in range(256)]
        self._ids: dict[bytes, int] = {piece: token for token, piece in enumerate(self._pieces)}
        special_ids = [self._token(text) for text in special_tokens]
        self._special = re.compile("|".join(map(re.escape, special_tokens)) or "(?!)")
        self._running: dict[int, _Running] = {}
        self._stats = EngineStats()
        self._end_token = special_ids[0] if special_ids else 0
        self.model = ModelInfo(
            path=Path("scripted.gguf"),
            description="scripted",
            context_length=context_length,
            train_context_length=context_length,
            vocab_size=len(self._pieces),
            end_tokens=frozenset(special_ids[:1]),
            special_tokens=frozenset(special_ids),
            control_tokens=frozenset(special_ids),
            bos_token="",
            eos_token=special_tokens[0] if special_tokens else "",
            adds_bos=False,
            chat_template=chat_template,
            vision=vision,
        )
        self._numbers = ImageNumbers()

    def play(self, *scripts: Script | Callable[[GenerationRequest], Script]) -> None:
        """Queues the answers to the next requests; a callable makes the script when its request comes."""
        self._scripts.extend(scripts)

    @property
    def stats(self) -> EngineStats:
        self._stats.running = len(self._running)
        return self._stats

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        tokens: list[int] = []
        start = 0
        for match in self._special.finditer(text) if special else ():
            tokens += text[start : match.start()].encode()
            tokens.append(self._ids[match.group().encode()])
            start = match.end()
        return tokens + list(text[start:].encode())

    def read(self, parts: Sequence[str | Picture]) -> Reading:
        tokens: list[int] = []
        images: list[ImageCells] = []
        for part in parts:
            if isinstance(part, str):
                tokens += self.tokenize(part)
                continue
            if not self.model.vision:
                raise PictureRefused("it has no vision projector (an mmproj file next to its GGUF)")
            images.append(ImageCells(len(tokens), PICTURE_CELLS, part, 0, False, PICTURE_CELLS, None))
            tokens += run(self._numbers.of(part.digest, 0), PICTURE_CELLS, PICTURE_CELLS)
        return Reading(tokens, tuple(images))

    def piece(self, token: int) -> bytes:
        """A picture's cells read `[image]`."""
        if token < 0:
            return b"[image]" if token <= FIRST else b""
        return self._pieces[token]

    def text(self, tokens: Sequence[int]) -> str:
        """What `tokens` say, as a test would like to read it."""
        return b"".join(map(self.piece, tokens)).decode(errors="replace")

    def generate(self, request: GenerationRequest) -> Generation:
        if self.closed:
            raise EngineFailed("the engine is closed")
        if len(request.tokens) >= self.model.context_length:
            raise PromptTooLong(len(request.tokens), self.model.context_length)
        self.requests.append(request)
        script = self._scripts.popleft() if self._scripts else self._default
        if callable(script):
            script = script(request)
        cancelled = asyncio.Event()
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(cancelled.set)

        stream = Stream(request, cancel)
        running = _Running(stream, cancelled)
        self._running[id(running)] = running
        running.task = asyncio.create_task(self._play(script, running))
        return Generation(stream)

    async def close(self) -> None:
        self.closed = True
        for running in list(self._running.values()):
            assert running.task is not None
            running.task.cancel()
            if not running.stream.ended:
                running.stream.fail(EngineFailed("the engine is closed"))
        self._running.clear()

    def _token(self, piece: Piece) -> int:
        data = piece.encode() if isinstance(piece, str) else piece
        if data not in self._ids:
            self._ids[data] = len(self._pieces)
            self._pieces.append(data)
        return self._ids[data]

    async def _play(self, script: Script, running: _Running) -> None:
        stream = running.stream
        try:
            await asyncio.sleep(0)  # as with a real engine, nothing comes before generate() has returned
            stream.cached_tokens = script.cached_tokens
            await self._play_steps(script, running)
        finally:
            self._running.pop(id(running), None)

    async def _play_steps(self, script: Script, running: _Running) -> None:
        stream = running.stream
        left = stream.request.max_tokens if stream.request.max_tokens is not None else self.model.context_length
        for step in script.steps:
            if isinstance(step, BaseException):
                stream.fail(step)
                return
            if isinstance(step, asyncio.Event | float | int):
                await _first(running.cancelled, step)
            if running.cancelled.is_set():
                self.cancelled.append(stream.request.id)
                stream.put(Chunk((), "cancelled"))
                return
            if isinstance(step, str | bytes | tuple):
                pieces = step if isinstance(step, tuple) else (step,)
                tokens = tuple(map(self._token, pieces))[:left]
                left -= len(tokens)
                self._stats.generated_tokens += len(tokens)
                if left == 0:
                    stream.put(self._chunk(stream.request, tokens, "length"))
                    return
                stream.put(self._chunk(stream.request, tokens))
                await asyncio.sleep(0)
        stop_token = self._end_token if script.finish == "stop" else None
        stream.put(Chunk((), script.finish, stop_token))

    def _chunk(self, request: GenerationRequest, tokens: tuple[int, ...], finish: FinishReason | None = None) -> Chunk:
        count = request.sampling.top_logprobs
        if count is None:
            return Chunk(tokens, finish)
        return Chunk(tokens, finish, None, tuple(_made_up_logprobs(token, count) for token in tokens))


def _made_up_logprobs(token: int, count: int) -> TokenLogprob:
    """-0.5 for the token itself, then -1.5, -2.5, ... for the bytes A, B, ..."""
    alternatives = [(token, -0.5)] + [(ord("A") + i, -1.5 - i) for i in range(count)]
    return TokenLogprob(token, -0.5, tuple(alternatives[:count]))


async def _first(cancelled: asyncio.Event, wait: asyncio.Event | float) -> None:
    """Returns when `wait` is over or the request is cancelled."""
    over = asyncio.create_task(wait.wait() if isinstance(wait, asyncio.Event) else asyncio.sleep(wait, True))
    cancel = asyncio.create_task(cancelled.wait())
    try:
        await asyncio.wait((over, cancel), return_when=asyncio.FIRST_COMPLETED)
    finally:
        over.cancel()
        cancel.cancel()
