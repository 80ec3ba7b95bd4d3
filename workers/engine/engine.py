"""The llama.cpp engine: the async face of the thread in `runner`."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable
from collections.abc import Sequence as Several
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog

from shared.settings import Settings
from workers.engine.context import Context, DecodeFailed
from workers.engine.core import (
    EngineFailed,
    EngineStats,
    GenerationRequest,
    ModelInfo,
    ModelLoadError,
    Picture,
    PictureRefused,
    PromptTooLong,
    Reading,
)
from workers.engine.generation import Generation, Stream
from workers.engine.images import position
from workers.engine.kv import KVCache
from workers.engine.masks import MaskMaker
from workers.engine.model import Model, load_model
from workers.engine.runner import Runner
from workers.engine.scheduler import Scheduler
from workers.engine.sequence import Sequence

if TYPE_CHECKING:
    from workers.engine.vision import Vision

log = structlog.get_logger("engine")

EXIT_SECONDS = 30.0  # the interpreter waits so long for a step to end


class LlamaEngine:
    """One model in llama.cpp, many sequences at once. `generate` belongs to one event loop; `close` it in the end."""

    def __init__(self, model: Model, context: Context, settings: Settings, projector: Path | None = None) -> None:
        self._weights = model
        self._context = context
        self._vision = self._load_vision(projector, settings) if projector else None
        self._info = replace(model.info, context_length=context.context_length, vision=self._vision is not None)
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
            **({"position": position} if self._vision and self._vision.mrope else {}),
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

    def read(self, parts: Several[str | Picture]) -> Reading:
        if not any(isinstance(part, Picture) for part in parts):
            return Reading(self.tokenize("".join(map(str, parts))))
        if self._vision is None:
            raise PictureRefused("it has no vision projector (an mmproj file next to its GGUF)")
        return self._vision.read(parts, self._weights.first_token)

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
        sequence = Sequence(stream, self._info.context_length, self._info.end_tokens, self._vision)
        pictured = sum(image.count for image in request.images)
        if (
            int(np.count_nonzero(sequence.tokens < 0)) != pictured
            or int(sequence.tokens.max()) >= self._info.vocab_size
        ):
            raise ValueError(f"tokens must be from 0 to {self._info.vocab_size - 1}")
        if sequence.last_token < 0:
            raise ValueError("a prompt ends with text")
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

    def _load_vision(self, path: Path, settings: Settings) -> Vision | None:
        """None where the projector cannot be used; the log says why."""
        from workers.engine.vision import ProjectorError, Vision  # needs another library of llama.cpp's

        context = self._context
        try:
            return Vision(
                path,
                self._weights.handle,
                threads=context.threads,
                gpu=settings.gpu_layers != 0,
                at_once=min(context.micro_batch_tokens, context.batch_tokens),
                on_seen=lambda: self._runner.wake(),
            )
        except (ProjectorError, OSError, RuntimeError, AttributeError) as error:
            log.error("projector_unusable", path=str(path), reason=str(error))
            return None

    def _run(self) -> None:
        try:
            self._runner.run()
        finally:
            self._masks.close()
            if self._vision is not None:
                self._vision.free()
            self._context.free()
            self._weights.free()


def load_engine(
    path: Path,
    settings: Settings,
    on_progress: Callable[[float], None] | None = None,
    projector: Path | None = None,
) -> LlamaEngine:
    """Loads a GGUF file (of a split one, its first part) and starts its engine. Blocks: call it in a thread.

    `on_progress` hears the fraction that is loaded, from 0 to 1, in that thread. `projector`: the file through which
    the model is shown pictures; where it cannot be used, the model only reads. Raises ModelLoadError.
    """
    model = load_model(path, settings, on_progress)
    try:
        context = Context(model, settings)
    except ModelLoadError:
        model.free()
        raise
    try:
        context.warm_up(model.first_token or 0)
    except DecodeFailed as error:
        context.free()
        model.free()
        raise ModelLoadError(path, f"it cannot be computed: {error}") from error
    return LlamaEngine(model, context, settings, projector)
