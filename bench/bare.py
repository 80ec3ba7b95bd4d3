"""The limit: llama_decode and a sampler in one loop, with nothing around them.

The context has the parameters that the engine gives its own; what differs is only what this loop leaves out.
"""

from __future__ import annotations

import ctypes
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama
import numpy as np

from shared.cpu import usable_cores
from shared.settings import Settings
from workers.engine.context import SINGLE_THREAD_PARAMETERS, Batch
from workers.engine.core import Sampling
from workers.engine.model import Model, load_model
from workers.engine.sampling import Sampler

Choose = Callable[[int, int], int]
"""The next token of a sequence (first argument) from a row of the logits (second argument)."""


class BareLoop:
    """One llama.cpp context and a loop over it."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._model = load_model(path, settings)
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = max(self._model.info.context_length, settings.slots * 1024)
        parameters.n_batch = settings.batch_tokens
        parameters.n_ubatch = settings.micro_batch_tokens
        parameters.n_seq_max = llama.llama_max_parallel_sequences()
        parameters.n_outputs_max = parameters.n_seq_max
        parameters.n_threads = parameters.n_threads_batch = settings.threads or _threads(self._model)
        parameters.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_AUTO
        parameters.kv_unified = True
        parameters.no_perf = True
        self._context = llama.llama_init_from_model(self._model.handle, parameters)
        self._memory = llama.llama_get_memory(self._context)
        self._batch = Batch(settings.batch_tokens)

    def run(self, prompts: list[list[int]], tokens: int, sampler: str, sampling: Sampling) -> tuple[list[float], int]:
        """Generates `tokens` tokens for each prompt, all at once; the seconds of each step after the first token, and
        the tokens of all prompts together."""
        llama.llama_memory_clear(self._memory, True)
        choosers, chains = self._choosers(len(prompts), sampler, sampling)
        last = [self._prefill(i, prompt, choosers[i]) for i, prompt in enumerate(prompts)]
        positions = [len(prompt) for prompt in prompts]
        sequences = list(range(len(prompts)))
        seconds = []
        for _ in range(tokens - 1):
            started = time.perf_counter()
            self._batch.clear()
            self._batch.add_single(sequences, positions, last)
            self._decode()
            last = [choose(i, i) for i, choose in enumerate(choosers)]
            positions = [position + 1 for position in positions]
            seconds.append(time.perf_counter() - started)
        for chain in chains:
            llama.llama_sampler_free(chain)
        return seconds, sum(map(len, prompts))

    def _prefill(self, sequence: int, prompt: list[int], choose: Choose) -> int:
        for start in range(0, len(prompt), len(self._batch.tokens)):
            part = np.array(prompt[start : start + len(self._batch.tokens)], np.int32)
            self._batch.clear()
            self._batch.add(sequence, start, part, True)
            self._decode()
        return choose(sequence, self._batch.size - 1)

    def _decode(self) -> None:
        self._batch.raw.n_tokens = self._batch.size
        code = llama.llama_decode(self._context, self._batch.raw)
        if code:
            raise RuntimeError(f"llama_decode returned {code}")

    def _choosers(self, count: int, sampler: str, sampling: Sampling) -> tuple[list[Choose], list[Any]]:
        """A sampler for each sequence, and the llama.cpp chains to be freed in the end."""
        if sampler == "numpy":
            return [self._numpy(Sampler(sampling)) for _ in range(count)], []
        chains = [_chain(sampling) for _ in range(count)]
        return [self._llama(chain) for chain in chains], chains

    def _llama(self, chain: Any) -> Choose:
        return lambda _, row: int(llama.llama_sampler_sample(chain, self._context, row))

    def _numpy(self, sampler: Sampler) -> Choose:
        vocabulary = self._model.info.vocab_size

        def choose(_: int, row: int) -> int:
            pointer = llama.llama_get_logits_ith(self._context, row)
            token = sampler.choose(np.ctypeslib.as_array(pointer, (vocabulary,)))
            sampler.accept(token)
            return token

        return choose


def _threads(model: Model) -> int:
    """As many as the engine takes."""
    return 1 if model.info.parameters < SINGLE_THREAD_PARAMETERS else usable_cores()


def _chain(sampling: Sampling) -> Any:
    """llama.cpp's chain, in the order its own server uses."""
    chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
    llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_top_k(sampling.top_k))
    llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_top_p(ctypes.c_float(sampling.top_p), 1))
    llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_min_p(ctypes.c_float(sampling.min_p), 1))
    llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_temp(ctypes.c_float(sampling.temperature)))
    llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_dist(random.getrandbits(32)))
    return chain
