"""Models whose memory is not a plain KV cache: sliding windows, states, and both."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.workers.engine.conftest import EngineFactory
from tests.workers.engine.helpers import Endless, run
from tests.workers.engine.random_models import VOCABULARY, hybrid, recurrent, sliding_window
from tests.workers.engine.reference import Reference

END = frozenset({VOCABULARY - 1})


@pytest.fixture(scope="module", params=[sliding_window, recurrent, hybrid], ids=lambda make: make.__name__)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    make: Callable[[Path], None] = request.param
    path = tmp_path_factory.mktemp("models") / f"{make.__name__}.gguf"
    make(path)
    return path


@pytest.fixture(scope="module")
def bare(model: Path) -> Iterator[Reference]:
    reference = Reference(model)
    yield reference
    reference.close()


def prompt(seed: int, length: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(256) for _ in range(length)]


async def test_many_at_once_are_exact(model: Path, bare: Reference, make_engine: EngineFactory) -> None:
    engine = await make_engine(model, context_length=1024, batch_tokens=256)
    prompts = [prompt(i, 20 + 37 * i) for i in range(12)]
    results = await asyncio.gather(*(run(engine, p, constraint=Endless(END), max_tokens=30) for p in prompts))
    for tokens, result in zip(prompts, results, strict=True):
        bare.check_greedy(tokens, result.tokens, END)


async def test_later_turns_and_shared_beginnings_are_exact(
    model: Path, bare: Reference, make_engine: EngineFactory
) -> None:
    engine = await make_engine(model, context_length=1024)
    first = prompt(0, 200)
    tokens, known = first, 0
    for turn in range(3):
        result = await run(engine, tokens, constraint=Endless(END), max_tokens=40)
        bare.check_greedy(tokens, result.tokens, END)
        assert result.cached_tokens >= known
        known = len(tokens) + len(result.tokens) - 1  # the last token has not gone through the model
        tokens = tokens + result.tokens + prompt(turn + 1, 10)
    for length in (50, 150, 199):  # parts of what is there
        branch = first[:length] + prompt(9, 20)
        result = await run(engine, branch, constraint=Endless(END), max_tokens=20)
        bare.check_greedy(branch, result.tokens, END)


async def test_little_room_is_exact_too(model: Path, bare: Reference, make_engine: EngineFactory) -> None:
    engine = await make_engine(model, context_length=512, kv_tokens=1024, slots=8)
    system = prompt(0, 100)
    prompts = [system + prompt(i, 10 * i) for i in range(1, 12)]
    for _ in range(2):
        results = await asyncio.gather(*(run(engine, p, constraint=Endless(END), max_tokens=100) for p in prompts))
        for tokens, result in zip(prompts, results, strict=True):
            bare.check_greedy(tokens, result.tokens, END)
    assert engine.stats.available_cells == 1024
