"""What tests of the engine say again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.engine.core import Chunk, Engine, FinishReason, GenerationRequest, Sampling
from workers.engine.generation import Generation

GREEDY = Sampling(temperature=0)


@dataclass(frozen=True)
class Result:
    tokens: list[int]
    finish: FinishReason | None
    stop_token: int | None
    cached_tokens: int
    chunks: list[Chunk]


def chat(text: str, system: str = "") -> str:
    start = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    return f"{start}<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def start(engine: Engine, prompt: str | Sequence[int], sampling: Sampling = GREEDY, **request: Any) -> Generation:
    tokens = engine.tokenize(prompt) if isinstance(prompt, str) else prompt
    return engine.generate(GenerationRequest("r", tokens, sampling, **request))


async def read(generation: Generation) -> Result:
    chunks = [chunk async for chunk in generation]
    assert [chunk.finish for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    tokens = [token for chunk in chunks for token in chunk.tokens]
    return Result(tokens, chunks[-1].finish, chunks[-1].stop_token, generation.cached_tokens, chunks)


async def run(engine: Engine, prompt: str | Sequence[int], sampling: Sampling = GREEDY, **request: Any) -> Result:
    return await read(start(engine, prompt, sampling, **request))


class Allowed:
    """A constraint: the output is one of some token sequences."""

    free = False

    def __init__(self, *sequences: Sequence[int]) -> None:
        self.sequences = [list(sequence) for sequence in sequences]
        self.accepted: list[int] = []
        self.masks = 0

    @property
    def _next(self) -> set[int]:
        count = len(self.accepted)
        return {s[count] for s in self.sequences if s[:count] == self.accepted and len(s) > count}

    @property
    def finished(self) -> bool:
        return not self._next

    def instead(self, token: int) -> Sequence[int]:
        return ()

    def accept(self, token: int) -> None:
        assert token in self._next
        self.accepted.append(token)

    def forced_tokens(self) -> Sequence[int]:
        following = self._next
        return list(following) if len(following) == 1 else []

    @staticmethod
    def fill_masks(constraints: Sequence[Allowed], rows: NDArray[np.int32]) -> None:
        for constraint, row in zip(constraints, rows, strict=True):
            constraint.masks += 1
            words = row.view(np.uint32)
            for token in constraint._next:
                words[token // 32] |= np.uint32(1 << (token % 32))


class Endless:
    """A constraint: anything but the end tokens."""

    free = False
    finished = False

    def __init__(self, end_tokens: frozenset[int]) -> None:
        self.end_tokens = end_tokens

    def instead(self, token: int) -> Sequence[int]:
        return ()

    def accept(self, token: int) -> None:
        assert token not in self.end_tokens

    def forced_tokens(self) -> Sequence[int]:
        return ()

    @staticmethod
    def fill_masks(constraints: Sequence[Endless], rows: NDArray[np.int32]) -> None:
        rows[:] = -1
        words = rows.view(np.uint32)
        for number, constraint in enumerate(constraints):
            for token in constraint.end_tokens:
                words[number, token // 32] &= ~np.uint32(1 << (token % 32))
