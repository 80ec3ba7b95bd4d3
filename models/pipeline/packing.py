"""Conversations as rows of tokens: worker processes generate, render, encode and pack them without end."""

import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from . import tokenizer
from .conversations import chatml, harmony
from .conversations.chatml import Segment
from .conversations.conversation import Conversation
from .conversations.dice import Dice
from .conversations.mix import sample

# ids, targets, weights (in hundredths), positions, index where the token's conversation starts in the row
Row = npt.NDArray[np.int32]
PROMPT_WEIGHT, LONG_PROMPT_WEIGHT, LONG = 10, 2, 1500
CONTEXT = 32768


@dataclass(frozen=True, slots=True)
class Dialect:
    """A chat format: its special tokens, its renderer, and what it does to a conversation before a cut."""

    name: str
    specials: list[str]
    control: set[str]
    bos: str
    eos: str
    pad: str
    template: str
    render: Callable[[Conversation], list[Segment]]
    prompt: Callable[[Conversation], str]
    unroll: Callable[[Conversation], Conversation]


CHATML = Dialect(
    "spark",
    chatml.SPECIALS,
    chatml.CONTROL,
    chatml.BOS,
    chatml.EOS,
    chatml.PAD,
    "template-chatml.jinja",
    chatml.render,
    chatml.prompt,
    lambda c: c,
)
HARMONY = Dialect(
    "spark-oss",
    harmony.SPECIALS,
    harmony.CONTROL,
    harmony.BOS,
    harmony.EOS,
    harmony.PAD,
    "template-harmony.jinja",
    harmony.render,
    harmony.prompt,
    harmony.sequential,
)
DIALECTS = {d.name: d for d in (CHATML, HARMONY)}


def cut(d: Dice, conversation: Conversation) -> Conversation:
    """Mostly ends at a random reply, because only the last one is shown as it is generated."""
    replies = [i for i, m in enumerate(conversation.messages) if m.role == "assistant"]
    calls = [i for i in replies if conversation.messages[i].calls]
    if d.chance(0.25):
        return conversation
    end = d.pick(calls) if calls and d.chance(0.5) else d.pick(replies)
    return replace(conversation, messages=conversation.messages[: end + 1])


def encode(tok: Tokenizer, segments: list[Segment]) -> tuple[list[int], list[int]]:
    """Token ids and their loss weights in hundredths."""
    ids: list[int] = []
    weights: list[int] = []
    encodings = tok.encode_batch_fast([text for text, _ in segments], add_special_tokens=False)
    context = PROMPT_WEIGHT if sum(len(text) for text, _ in segments) < 4 * LONG else LONG_PROMPT_WEIGHT
    for (_, learned), encoding in zip(segments, encodings, strict=True):
        n = len(encoding.ids)
        ids += encoding.ids
        weights += [[context] * n, [100] * n, [0] + [100] * (n - 1), [0] * n][learned]
    return ids, weights


def rows(dialect: Dialect, seed: int, length: int) -> Iterator[Row]:
    """Endless rows of `length` tokens; the last line of a row says where each token's conversation starts.

    In a third of the conversations the positions start late or jump somewhere: short texts train long distances.
    """
    d, tok = Dice(random.Random(seed)), tokenizer.load(dialect.specials)
    waiting: list[tuple[list[int], list[int]]] = []
    while True:
        row = np.zeros((5, length), np.int32)
        row[4] = np.arange(length)
        used = 0
        while True:
            while len(waiting) < 12:
                ids, weights = encode(tok, dialect.render(cut(d, dialect.unroll(sample(d)))))
                if max(weights) == 100 and len(ids) <= length:
                    waiting.append((ids, weights))
            fits = next((i for i, (ids, _) in enumerate(waiting) if used + len(ids) - 1 <= length), None)
            if fits is None:
                break
            ids, weights = waiting.pop(fits)
            n = len(ids) - 1
            place = slice(used, used + n)
            row[0, place], row[1, place], row[2, place], row[4, place] = ids[:-1], ids[1:], weights[1:], used
            positions = np.arange(n)
            if d.chance(0.33):
                room = CONTEXT - n
                positions += d.randint(0, room if d.chance(0.3) else min(room, 2000)) if d.chance(0.3) else 0
                start, room = d.randint(0, n - 1), CONTEXT - 1 - int(positions[-1])
                positions[start:] += d.randint(0, room if d.chance(0.4) else min(room, 4000))
            row[3, place] = positions
            used += n
        yield row


def _work(dialect_name: str, seed: int, length: int, out: Any) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for row in rows(DIALECTS[dialect_name], seed, length):
        out.put(row)


class Feed:
    """Batches from `workers` processes, taken in turn: the order depends on the seed and the number of workers only."""

    def __init__(self, dialect: Dialect, seed: int, length: int, workers: int) -> None:
        context = multiprocessing.get_context("fork")
        self._queues = [context.Queue(maxsize=12) for _ in range(workers)]
        self._processes = [
            context.Process(target=_work, args=(dialect.name, seed * 1000 + i, length, q), daemon=True)
            for i, q in enumerate(self._queues)
        ]
        self._next = 0
        for process in self._processes:
            process.start()

    def batch(self, size: int) -> npt.NDArray[np.int32]:
        """[5, size, length]"""
        taken = []
        for _ in range(size):
            taken.append(self._queues[self._next].get())
            self._next = (self._next + 1) % len(self._queues)
        return np.stack(taken, 1)

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
