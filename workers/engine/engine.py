"""The llama.cpp engine: the async face of the thread in `runner`."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from shared.settings import Settings
from workers.engine.context import Context
from workers.engine.core import EngineFailed, EngineStats, GenerationRequest, ModelInfo, ModelLoadError, PromptTooLong
from workers.engine.generation import Generation, Stream
from workers.engine.kv import KVCache
from workers.engine.masks import MaskMaker
from workers.engine.model import Model, load_model
from workers.engine.runner import Runner
from workers.engine.scheduler import Scheduler
from workers.engine.sequence import Sequence

EXIT_SECONDS = 30.0  # the interpreter waits so long for a step to end


class LlamaEngine:
    """One model in llama.cpp, many sequences at once. `generate` belongs to one event loop; `close` it in the end."""

    def __init__(self, model: Model, context: Context, settings: Settings) -> None:
        self._weights = model
        self._context = context
        self._info = replace(model.info, context_length=context.context_length)
        self._stats = EngineStats()
        self._masks = MaskMaker(model.info.vocab_size)
        self._kv = KVCache(
            context,
            cells=context.cells,
            sequences=context.sequences,
            context_length=context.context_length,
            whole_only=model.shape.whole_only,
            window=model.shape.window,
            lifetime=model.shape.donor_lifetime,
        )
        self._scheduler = Scheduler(
            self._kv,
            slots=context.slots,
            batch_tokens=context.batch_tokens,
            prefill_tokens=settings.prefill_tokens,
            stats=self._stats,
        )
        self._runner = Runner(context, self._kv, self._scheduler, self._masks, self._stats)
        self._thread = threading.Thread(target=self._run, name=f"llama-{model.info.path.stem}", daemon=True)
        self._thread.start()
        atexit.register(self._stop)

    @property
    def model(self) -> ModelInfo:
        return self._info

    @property
    def stats(self) -> EngineStats:
        return replace(
            self._stats,
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.waiting),
            free_cells=self._kv.free_cells,
            available_cells=self._kv.available_cells,
        )

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        return self._weights.tokenize(text, special=special)

    def piece(self, token: int) -> bytes:
        return self._weights.piece(token)

    def generate(self, request: GenerationRequest) -> Generation:
        """See `Engine.generate`. Raises also ValueError for an empty prompt or a token that is none."""
        if not self._thread.is_alive():
            raise EngineFailed("the engine was closed")
        loop = asyncio.get_running_loop()
        if self._runner.loop not in (None, loop):
            raise RuntimeError("an engine serves one event loop")
        if not request.tokens:
            raise ValueError("a prompt needs at least one token")
        if len(request.tokens) >= self._info.context_length:
            raise PromptTooLong(len(request.tokens), self._info.context_length)
        self._runner.loop = loop
        stream = Stream(request, lambda: self._runner.cancel(sequence))
        sequence = Sequence(stream, self._info.context_length, self._info.end_tokens)
        if int(sequence.tokens.min()) < 0 or int(sequence.tokens.max()) >= self._info.vocab_size:
            raise ValueError(f"tokens must be from 0 to {self._info.vocab_size - 1}")
        self._runner.submit(sequence)
        return Generation(stream)

    async def close(self) -> None:
        self._runner.stop()
        await asyncio.to_thread(self._thread.join)
        atexit.unregister(self._stop)

    def _stop(self) -> None:
        """At the interpreter's end: its memory must not go while llama.cpp computes in it."""
        self._runner.stop()
        self._thread.join(EXIT_SECONDS)

    def _run(self) -> None:
        try:
            self._runner.run()
        finally:
            self._masks.close()
            self._context.free()
            self._weights.free()


def load_engine(path: Path, settings: Settings, on_progress: Callable[[float], None] | None = None) -> LlamaEngine:
    """Loads a GGUF file (of a split one, its first part) and starts its engine. Blocks: call it in a thread.

    `on_progress` hears the fraction that is loaded, from 0 to 1, in that thread. Raises ModelLoadError.
    """
    model = load_model(path, settings, on_progress)
    try:
        context = Context(model, settings)
    except ModelLoadError:
        model.free()
        raise
    return LlamaEngine(model, context, settings)
