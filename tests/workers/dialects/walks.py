"""Random walks through a grammar: what a model without any sense might write under it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from workers.grammar.constraint import OutputConstraint
from workers.grammar.vocabulary import Vocabulary

WORDS = [
    " the", "ing", "\n\n", '": "', '", "', "{}", "</", "<tool", "_call>", "think", '"}', "get", "_weather",
    "Oslo", "null", "true", ": ", ", ", "1", "0.5", "\\n", '\\"', "://",
]  # fmt: skip
END = "<|the_end|>"


MARKERS = [
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<function=", "</function>", "<parameter=",
    "</parameter>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<minimax:tool_call>",
    "</minimax:tool_call>", "</invoke>", "<seed:tool_call>", "</seed:tool_call>", "<seed:think>",
    "</seed:think>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[THINK]", "[/THINK]", "<|channel|>", "<|message|>",
    "<|constrain|>", "<|end|>", "<|start|>", "<|call|>", "<|return|>", "<|tool_call>", "<tool_call|>", '<|"|>',
    "<|channel>", "<channel|>", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>", "｜DSML｜", "</｜DSML｜parameter>", "<｜DSML｜function_calls>",
    "<|tool_calls_section_begin|>", "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>",
    "<|tool_calls_section_end|>", "<|tool_call_start|>", "<|START_ACTION|>", "<|END_ACTION|>",
    "<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|tool_call|>",
    "<|python_tag|>",
]  # fmt: skip
"""Markers of all families: in some vocabularies they are special tokens, in others words like any."""


def vocabulary(special: Sequence[str] = (), words: Sequence[str] = ()) -> Vocabulary:
    """All bytes, some words, and special tokens."""
    plain = [bytes([value]) for value in range(256)] + [word.encode() for word in (*WORDS, *words)]
    pieces = [*plain, *(text.encode() for text in (*special, END))]
    ids = range(len(plain), len(pieces))
    by_text = {piece: token for token, piece in enumerate(plain)}
    longest = max(map(len, plain))

    def tokenize(text: str) -> list[int]:
        data, tokens, at = text.encode(errors="replace"), [], 0
        while at < len(data):
            size = next(size for size in range(min(longest, len(data) - at), 0, -1) if data[at : at + size] in by_text)
            tokens.append(by_text[data[at : at + size]])
            at += size
        return tokens

    return Vocabulary.of_pieces(pieces, list(ids), [len(pieces) - 1], tokenize)


def walk(
    constraint: OutputConstraint,
    known: Vocabulary,
    rng: random.Random,
    limit: int = 600,
    begun: Sequence[int] = (),
) -> str | None:
    """An output, token by token as the engine does it; None where it grew past the limit. `begun`: how it begins, as
    far as the grammar lets that through."""
    end = known.special[END]
    rows = np.zeros((1, (known.tokenizer.vocab_size + 31) // 32), np.int32)
    tokens: list[int] = []
    limit += len(begun)
    for token in begun[: constraint._matcher.validate_tokens(list(begun)) if constraint._matcher else 0]:
        constraint.accept(token)
        tokens.append(token)
    while len(tokens) < limit:
        if constraint.finished:
            break
        if forced := constraint.forced_tokens():
            for token in forced:
                constraint.accept(token)
            tokens += forced
            continue
        OutputConstraint.fill_masks([constraint], rows)
        allowed = np.flatnonzero(np.unpackbits(rows[0].view(np.uint8), bitorder="little"))
        assert len(allowed), known.tokenizer.decode_str(tokens)
        if end in allowed and (len(allowed) == 1 or rng.random() < 0.3):
            break
        token = int(rng.choice(_likely(allowed, rng, len(tokens), limit)))
        if token == end:
            continue
        for taken in constraint.instead(token) or (token,):
            constraint.accept(taken)
            tokens.append(taken)
    else:
        return None
    return known.tokenizer.decode_bytes(tokens).decode(errors="replace")


def _likely(allowed: np.ndarray, rng: random.Random, written: int, limit: int) -> list[int]:
    """Mostly printable text, and what ends things, so that a walk comes to an end."""
    ends = [token for token in allowed if token >= 256 or token in b'"}]>)\n.<|/']
    printable = [token for token in allowed if 32 <= token < 127]
    if ends and rng.random() < 0.25 + 0.7 * written / limit:
        return ends
    return printable or list(allowed)
