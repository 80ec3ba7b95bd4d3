"""Engines on the demo model, and what they are compared with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.settings import REPOSITORY_MODELS, Settings
from tests.workers.engine.reference import Reference
from workers.engine.engine import LlamaEngine, load_engine

MODEL = REPOSITORY_MODELS / "llamarelay/spark/spark-F16.gguf"
"""Not the Q8_0 one: there llama.cpp quantizes activations too, so that the smallest difference in rounding grows.
Logits of the same tokens, decoded one by one or at once, differ by up to 0.4; here by 0.02."""

EngineFactory = Callable[..., Awaitable[LlamaEngine]]


@pytest.fixture(scope="session")
async def engine() -> AsyncIterator[LlamaEngine]:
    """One engine with room for everything."""
    engine = await asyncio.to_thread(load_engine, MODEL, Settings())
    yield engine
    await engine.close()


@pytest.fixture
async def make_engine() -> AsyncIterator[EngineFactory]:
    """`await make_engine(path=MODEL, projector=None, **settings)`; closed after the test."""
    engines: list[LlamaEngine] = []

    async def make(path: Path = MODEL, projector: Path | None = None, **settings: Any) -> LlamaEngine:
        engines.append(await asyncio.to_thread(load_engine, path, Settings(**settings), None, projector))
        return engines[-1]

    yield make
    for engine in engines:
        await engine.close()


@pytest.fixture(scope="session")
def reference() -> Iterator[Reference]:
    """The same model in a bare llama_decode loop."""
    reference = Reference(MODEL)
    yield reference
    reference.close()
