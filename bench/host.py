"""The process behind `bench.native`: python -m bench.host MODEL_FILE."""

from __future__ import annotations

from workers.engine.core import GenerationRequest, Sampling  # first: it sets how llama.cpp's threads wait

# isort: split
import asyncio
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from bench.bare import BareLoop
from bench.child import serve
from bench.native import First, Loop, Timed
from shared.settings import Settings
from workers.engine.engine import LlamaEngine, load_engine


class Host:
    """The model twice: bare, and in the engine; each is loaded when it is first needed. Weights share their memory."""

    def __init__(self, model: Path) -> None:
        self._model = model
        self._settings = Settings()
        self._loop = asyncio.new_event_loop()
        self._bare: BareLoop | None = None
        self._engine: LlamaEngine | None = None

    def answer(self, order: Loop | First) -> Timed:
        if isinstance(order, First):
            return self._loop.run_until_complete(self._first(order))
        if self._bare is None:
            self._bare = BareLoop(self._model, self._settings)
        return Timed(*self._bare.run(self._prompts(order.texts), order.tokens, order.sampler, self._sampling()))

    async def _first(self, order: First) -> Timed:
        engine = self._load()
        tokens = self._prompt(order.text, order.instructions)
        request = GenerationRequest(id="first", tokens=tokens, sampling=self._sampling(), max_tokens=2)
        started = time.perf_counter()
        generation = engine.generate(request)
        async for _ in generation:
            seconds = time.perf_counter() - started
            break
        async for _ in generation:
            pass
        return Timed([seconds], len(tokens))

    def _prompts(self, texts: list[str]) -> list[list[int]]:
        return [self._prompt(text, None) for text in texts]

    def _prompt(self, text: str, instructions: str | None) -> list[int]:
        """The tokens that a request with this input has in a worker: the random models' template is plain ChatML."""
        system = f"<|im_start|>system\n{instructions}<|im_end|>\n" if instructions else ""
        return self._load().tokenize(f"{system}<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n")

    def _load(self) -> LlamaEngine:
        if self._engine is None:
            self._engine = load_engine(self._model, self._settings)
        return self._engine

    def _sampling(self) -> Sampling:
        settings = self._settings
        return Sampling(settings.temperature, settings.top_p, settings.top_k, settings.min_p)


def main() -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    answer: Callable[[Loop | First], Timed] = Host(Path(sys.argv[1])).answer
    serve(Loop | First, answer)


if __name__ == "__main__":
    main()
