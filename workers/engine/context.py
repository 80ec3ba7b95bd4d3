"""llama.cpp's context: the batch that goes in, the logits that come out, and the memory in between."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import llama_cpp.llama_cpp as llama
import numpy as np
from numpy.typing import NDArray

from shared.cpu import usable_cores
from shared.settings import Settings
from workers.engine import logs
from workers.engine.core import ModelLoadError
from workers.engine.model import Model

SEQUENCE_CELLS = 1024  # of the KV cache by default, per slot
KV_BYTES = 2 << 30  # the KV cache takes no more by default, unless one context needs it
SINGLE_THREAD_PARAMETERS = 30_000_000
MANY_TOKENS = 256  # in one batch: enough work between the threads' meetings for all cores, whatever the model's size
STATEFUL_DONORS = 8  # of models whose memory is a state: each sequence costs memory of its own


_logits_address = llama._lib["llama_get_logits"]  # as a number: a ctypes pointer costs 20 µs to look into
_logits_address.argtypes, _logits_address.restype = [llama.llama_context_p_ctypes], ctypes.c_void_p


class DecodeFailed(Exception):
    """llama_decode gave up; the memory's contents are unknown."""


class Batch:
    """The tokens of one llama_decode call, in arrays llama.cpp reads in place."""

    def __init__(self, capacity: int) -> None:
        self.size = 0
        self.rows = 0  # tokens whose logits are wanted
        self.tokens = np.zeros(capacity, np.int32)
        self.positions = np.zeros(capacity, np.int32)
        self.sequences = np.zeros(capacity, np.int32)
        self._outputs = np.zeros(capacity, np.int8)
        self._counts = np.ones(capacity, np.int32)
        # the sequence ids of each token: a pointer to its one id
        self._pointers = (self.sequences.ctypes.data + 4 * np.arange(capacity)).astype(np.uintp)
        self.raw = llama.llama_batch(
            n_tokens=0,
            token=self.tokens.ctypes.data_as(ctypes.POINTER(llama.llama_token)),
            embd=None,
            pos=self.positions.ctypes.data_as(ctypes.POINTER(llama.llama_pos)),
            n_seq_id=self._counts.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=self._pointers.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(llama.llama_seq_id))),
            logits=self._outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def clear(self) -> None:
        self.size = self.rows = 0

    def add(self, sequence: int, position: int, tokens: NDArray[np.int32], output: bool) -> None:
        """Appends consecutive tokens of one sequence; `output`: the last one's logits are wanted."""
        start, end = self.size, self.size + len(tokens)
        self.tokens[start:end] = tokens
        self.positions[start:end] = np.arange(position, position + len(tokens), dtype=np.int32)
        self.sequences[start:end] = sequence
        self._outputs[start:end] = 0
        self._outputs[end - 1] = output
        self.size = end
        self.rows += output

    def add_single(self, sequences: Sequence[int], positions: Sequence[int], tokens: Sequence[int]) -> None:
        """Appends one token of each sequence, with its logits wanted."""
        start, end = self.size, self.size + len(tokens)
        self.tokens[start:end] = tokens
        self.positions[start:end] = positions
        self.sequences[start:end] = sequences
        self._outputs[start:end] = 1
        self.size = end
        self.rows += len(tokens)


class Context:
    """One llama_context. Everything but the constructor belongs to one thread."""

    def __init__(self, model: Model, settings: Settings) -> None:
        """Raises ModelLoadError when llama.cpp cannot make it (mostly: too little memory)."""
        shape = model.shape
        self.slots = max(1, min(settings.slots, settings.batch_tokens, llama.llama_max_parallel_sequences() // 2))
        self.sequences = llama.llama_max_parallel_sequences()
        if shape.whole_only:
            self.sequences = min(self.sequences, self.slots + STATEFUL_DONORS)
        cells = settings.kv_tokens or max(model.info.context_length, _default_cells(model, self.slots))
        self.context_length = min(model.info.context_length, cells)  # of one sequence
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = cells
        parameters.n_batch = settings.batch_tokens
        parameters.n_ubatch = min(settings.micro_batch_tokens, settings.batch_tokens)
        parameters.n_seq_max = self.sequences
        parameters.n_outputs_max = self.sequences
        cores = settings.threads or settings.cores or usable_cores()
        self.threads = settings.threads or _default_threads(model, cores)  # for a batch of few tokens
        self._many_threads = cores
        self._current_threads = self.threads
        parameters.n_threads = parameters.n_threads_batch = self.threads
        parameters.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_AUTO
        parameters.kv_unified = True
        parameters.swa_full = True  # or a sliding window would forget what others could share
        parameters.no_perf = True
        with logs.errors() as errors:
            self._handle = llama.llama_init_from_model(model.handle, parameters)
        if not self._handle:
            raise ModelLoadError(model.info.path, "; ".join(errors) or "no context could be made")
        self.cells = llama.llama_n_ctx(self._handle)
        self.batch_tokens = llama.llama_n_batch(self._handle)
        self.micro_batch_tokens = llama.llama_n_ubatch(self._handle)
        self.batch = Batch(self.batch_tokens)
        self._whole_only = shape.whole_only
        self._memory = llama.llama_get_memory(self._handle)
        self._vocab_size = model.info.vocab_size
        self._logits_at = 0
        self._logits = np.empty((0, 0), np.float32)

    def warm_up(self, token: int) -> None:
        """Decodes a token and forgets it: what cannot be computed at all fails now, and not with somebody's request.
        Raises DecodeFailed."""
        self.batch.add_single([0], [0], [token])
        self.decode()
        self.batch.clear()
        self.clear()

    def decode(self) -> bool:
        """Runs the batch. False, with nothing changed, when the memory has no place for it. Raises DecodeFailed."""
        self._use(self._many_threads if self.batch.size >= MANY_TOKENS else self.threads)
        self.batch.raw.n_tokens = self.batch.size
        code = llama.llama_decode(self._handle, self.batch.raw)
        if code not in (0, 1):
            raise DecodeFailed(f"llama_decode returned {code}")
        self._wait()
        return bool(code == 0)

    def _wait(self) -> None:
        """Until a GPU has computed what llama_decode has only handed to it: who measures a decode, measures it all."""
        llama.llama_synchronize(self._handle)

    def _use(self, threads: int) -> None:
        if threads != self._current_threads:
            llama.llama_set_n_threads(self._handle, threads, threads)
            self._current_threads = threads

    def decode_image(
        self, sequence: int, position: int, rows: NDArray[np.float32], positions: NDArray[np.int32] | None, whole: bool
    ) -> bool:
        """Puts a stretch of an image's embeddings into a sequence; see `decode`. `whole`: they see each other."""
        count = len(rows)
        if positions is None:
            positions = np.arange(position, position + count, dtype=np.int32)
        positions = np.ascontiguousarray(positions)
        sequences = np.full(1, sequence, np.int32)
        pointers = np.full(count, sequences.ctypes.data, np.uintp)
        ones, outputs = np.ones(count, np.int32), np.zeros(count, np.int8)
        batch = llama.llama_batch(
            n_tokens=count,
            token=None,
            embd=rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            pos=positions.ctypes.data_as(ctypes.POINTER(llama.llama_pos)),
            n_seq_id=ones.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=pointers.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(llama.llama_seq_id))),
            logits=outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )
        if whole:
            llama.llama_set_causal_attn(self._handle, False)
        try:
            code = llama.llama_decode(self._handle, batch)
        finally:
            if whole:
                llama.llama_set_causal_attn(self._handle, True)
        if code not in (0, 1):
            raise DecodeFailed(f"llama_decode returned {code} for an image")
        self._wait()
        return bool(code == 0)

    def logits(self) -> NDArray[np.float32]:
        """The wanted logits of the last batch, (rows, vocabulary), in its order. llama.cpp's own memory: until the
        next batch they may be read and changed."""
        address = _logits_address(self._handle)
        if address != self._logits_at:
            pointer = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
            self._logits = np.ctypeslib.as_array(pointer, (self.sequences, self._vocab_size))
            self._logits_at = address
        return self._logits[: self.batch.rows]

    def copy(self, source: int, target: int, end: int) -> None:
        end = -1 if self._whole_only else end
        llama.llama_memory_seq_cp(self._memory, source, target, 0, end)

    def remove(self, sequence: int, start: int) -> None:
        llama.llama_memory_seq_rm(self._memory, sequence, start, -1)

    def first_position(self, sequence: int) -> int:
        return int(llama.llama_memory_seq_pos_min(self._memory, sequence))

    def last_position(self, sequence: int) -> int:
        """-1 for an empty sequence."""
        return int(llama.llama_memory_seq_pos_max(self._memory, sequence))

    def clear(self) -> None:
        """Empties the memory."""
        llama.llama_memory_clear(self._memory, True)

    def free(self) -> None:
        llama.llama_free(self._handle)


def _default_threads(model: Model, cores: int) -> int:
    """All cores this worker may use, but one for a tiny model: its threads would meet at a barrier every few
    microseconds, and where another process has one of the cores, each meeting waits for that (measured: fifty times
    slower). From MANY_TOKENS on there is enough work between two meetings (measured with two threads: half the time,
    and about the same time where another process has a core)."""
    return 1 if model.info.parameters < SINGLE_THREAD_PARAMETERS else cores


def _default_cells(model: Model, slots: int) -> int:
    """Cells of the KV cache where the settings leave it open: SEQUENCE_CELLS per slot, within KV_BYTES.

    More would be used for donors only, whose cells every attention walks over.
    """
    return min(slots * SEQUENCE_CELLS, KV_BYTES // max(1, model.shape.cell_bytes))
