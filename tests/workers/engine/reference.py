"""One sequence at a time in a bare llama_decode loop: what the engine must not differ from."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import llama_cpp.llama_cpp as llama
import numpy as np

from shared.settings import Settings
from workers.engine.model import load_model

NEGLIGIBLE = 0.1
"""Logits depend a little on what else is in the batch (other kernels, other rounding). Where the two likeliest tokens
are nearer than this, either may win."""


class Reference:
    def __init__(self, path: Path, context_length: int = 4096) -> None:
        self.model = load_model(path, Settings())
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = context_length
        parameters.n_batch = 512
        parameters.n_threads = parameters.n_threads_batch = 1
        self.context = llama.llama_init_from_model(self.model.handle, parameters)
        self.batch = llama.llama_batch_init(512, 0, 1)

    def close(self) -> None:
        llama.llama_batch_free(self.batch)
        llama.llama_free(self.context)
        self.model.free()

    def first_logits(self, prompt: Sequence[int]) -> np.ndarray:
        """The logits after `prompt`, in an empty context."""
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)
        return self.logits(list(prompt), 0)

    def logits(self, tokens: Sequence[int], position: int) -> np.ndarray:
        for start in range(0, len(tokens), 512):
            part = tokens[start : start + 512]
            self.batch.n_tokens = len(part)
            for i, token in enumerate(part):
                self.batch.token[i] = token
                self.batch.pos[i] = position + start + i
                self.batch.n_seq_id[i] = 1
                self.batch.seq_id[i][0] = 0
                self.batch.logits[i] = i == len(part) - 1
            assert llama.llama_decode(self.context, self.batch) == 0
        pointer = llama.llama_get_logits_ith(self.context, -1)
        pointer = ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(pointer, (self.model.info.vocab_size,)).copy()

    def check_greedy(
        self, prompt: Sequence[int], output: Sequence[int], forbidden: frozenset[int] = frozenset()
    ) -> int:
        """Asserts that every token of `output` is the likeliest there (or as good as), given those before. Returns how
        many were not exactly the likeliest."""
        logits = self.first_logits(prompt)
        near_ties = 0
        for number, token in enumerate(output):
            logits[list(forbidden)] = -np.inf
            best = int(logits.argmax())
            if token != best:
                gap = float(logits[best] - logits[token])
                assert gap < NEGLIGIBLE, f"token {number} is {token}, but {best} is likelier by {gap}"
                near_ties += 1
            logits = self.logits([token], len(prompt) + number)
        return near_ties
