"""How much of everything is measured."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import models
from bench.load import Post
from bench.words import Writer


@dataclass(frozen=True)
class Plan:
    """The sizes of all benchmarks."""

    model: str  # as requests name it
    models_dir: Path
    model_file: Path
    rounds: int = 7  # of each comparison
    decode: Mapping[int, int] = field(default_factory=lambda: {1: 192, 8: 96, 32: 96})  # streams: tokens of each
    prompt: int = 16  # words of a prompt
    first_tokens: int = 40  # requests whose first token is timed
    prefix: int = 1000  # words of shared instructions
    sharers: int = 16
    constrained: int = 8  # streams that are held to a JSON schema
    relay_clients: int = 200
    relay_rates: tuple[int, ...] = (1000, 2000, 4000)  # events per second; then as fast as it goes
    relay_seconds: float = 4.0
    relay_burst: int = 150  # events for each client when it goes as fast as it can
    rest: float = 0.2  # seconds between two measurements: threads that spin go to sleep
    writer: Writer = field(default_factory=lambda: Writer(time.time_ns()))

    def body(self, text: str, tokens: int, /, **more: Any) -> bytes:
        """A request for a stream of so many tokens."""
        return json.dumps(
            {"model": self.model, "input": text, "stream": True, "store": True, "max_output_tokens": tokens, **more}
        ).encode()

    def texts(self, count: int) -> list[str]:
        return [self.writer.text(self.prompt) for _ in range(count)]

    def post(self, url: str, texts: list[str], tokens: int, /, **more: Any) -> Post:
        return Post(url, [self.body(text, tokens, **more) for text in texts])


def standard(*, quick: bool, large: bool) -> Plan:
    """The plan of `python -m bench`; makes the model it needs."""
    shape = models.LARGE if large else models.SMALL
    plan = Plan(shape.key, models.FOLDER, models.ensure(shape))
    if large:
        plan = replace(plan, rounds=5, decode={1: 64, 8: 48, 32: 48}, first_tokens=20)
    if quick:
        plan = replace(plan, rounds=3, first_tokens=12, relay_seconds=2.0, relay_burst=50)
        plan = replace(plan, decode={streams: tokens * 2 // 3 for streams, tokens in plan.decode.items()})
    return plan
