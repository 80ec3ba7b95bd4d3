"""A model's weights and vocabulary."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama

from shared.settings import Settings
from workers.engine import logs
from workers.engine.core import EngineFailed, ModelInfo, ModelLoadError
from workers.engine.runs import Runs

LONGEST_CONTEXT = 32768  # of one sequence, unless settings say otherwise

_backend = threading.Lock()
_backend_ready = False


@dataclass(frozen=True, slots=True)
class Shape:
    """What the KV cache needs to know."""

    layers: int
    embedding: int
    heads: int
    kv_heads: int
    window: int  # of sliding-window attention; 0: none
    whole_only: bool  # the memory is a state that cannot drop a suffix

    @property
    def cell_bytes(self) -> int:
        """Keys and values of one token in 16 bits (an estimate where layers or head sizes differ)."""
        return 4 * self.layers * self.embedding * self.kv_heads // max(1, self.heads)

    @property
    def donor_lifetime(self) -> int:
        """After how many generated tokens an unused donor has cost a quarter of what computing it again would.

        Per generated token, attention looks at each of its cells `layers * heads` times (1.4 ns each on a CPU, masked
        as they are); computing a token takes about `12 * layers * embedding ** 2` multiplications (50 per ns).
        """
        return max(1024, self.embedding**2 // (12 * max(1, self.heads)))


class Model:
    """Weights and vocabulary, until `free`. Tokenizing is safe from any thread, also at the same time: llama.h says of
    its tokenization that "the API is thread-safe"."""

    def __init__(self, path: Path, handle: Any, settings: Settings) -> None:
        self.handle = handle
        self._idle = threading.Condition()
        self._users = 0  # threads that tokenize
        self._freed = False
        self.vocab = llama.llama_model_get_vocab(handle)
        self.shape = Shape(
            layers=llama.llama_model_n_layer(handle),
            embedding=llama.llama_model_n_embd(handle),
            heads=llama.llama_model_n_head(handle),
            kv_heads=llama.llama_model_n_head_kv(handle),
            window=llama.llama_model_n_swa(handle),
            whole_only=bool(llama.llama_model_is_recurrent(handle) or llama.llama_model_is_hybrid(handle)),
        )
        self._pieces = list(self._read_pieces())
        self._bos = llama.llama_vocab_bos(self.vocab)
        self.info = self._read_info(path, settings)
        self._runs = self._read_runs()

    @property
    def first_token(self) -> int | None:
        """What every prompt begins with, if anything."""
        return self._bos if self.info.adds_bos else None

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """See `Engine.tokenize`. Raises EngineFailed after `free`."""
        tokens: list[int] = []
        with self._used():
            for piece in self.cut(text):
                tokens += self._tokenize(piece, special)
        if special and self.info.adds_bos and tokens[:1] != [self._bos]:
            tokens.insert(0, self._bos)
        return tokens

    def cut(self, text: str) -> list[str]:
        """The text in pieces that llama.cpp can tokenize, nearly always one: see `Runs`."""
        return [text] if self._runs is None else self._runs.cut(text)

    def piece(self, token: int) -> bytes:
        return self._pieces[token]

    def free(self) -> None:
        """Waits for those who tokenize; nobody begins any more."""
        with self._idle:
            self._freed = True
            self._idle.wait_for(lambda: self._users == 0)
            llama.llama_model_free(self.handle)

    @contextmanager
    def _used(self) -> Iterator[None]:
        with self._idle:
            if self._freed:
                raise EngineFailed("the engine was closed")
            self._users += 1
        try:
            yield
        finally:
            with self._idle:
                self._users -= 1
                self._idle.notify_all()

    def _tokenize(self, text: str, special: bool) -> list[int]:
        data = text.encode(errors="replace")
        size = len(data) + 8
        buffer = (llama.llama_token * size)()
        count = llama.llama_tokenize(self.vocab, data, len(data), buffer, size, False, special)
        if count < 0:
            buffer = (llama.llama_token * -count)()
            count = llama.llama_tokenize(self.vocab, data, len(data), buffer, -count, False, special)
        return buffer[:count]

    def _read_pieces(self) -> Iterator[bytes]:
        size = 512
        buffer = ctypes.create_string_buffer(size)
        for token in range(llama.llama_vocab_n_tokens(self.vocab)):
            length = llama.llama_token_to_piece(self.vocab, token, buffer, size, 0, True)
            if length < 0:
                size = -length
                buffer = ctypes.create_string_buffer(size)
                length = llama.llama_token_to_piece(self.vocab, token, buffer, size, 0, True)
            yield buffer.raw[:length]

    def _read_info(self, path: Path, settings: Settings) -> ModelInfo:
        trained = llama.llama_model_n_ctx_train(self.handle)
        vocabulary = range(len(self._pieces))
        template = llama.llama_model_chat_template(self.handle, None)
        return ModelInfo(
            path=path,
            description=_text(llama.llama_model_desc, self.handle),
            context_length=settings.context_length or min(trained, LONGEST_CONTEXT),
            train_context_length=trained,
            vocab_size=len(vocabulary),
            end_tokens=frozenset(token for token in vocabulary if llama.llama_vocab_is_eog(self.vocab, token)),
            special_tokens=frozenset(token for token in vocabulary if self._is_special(token)),
            control_tokens=frozenset(token for token in vocabulary if llama.llama_vocab_is_control(self.vocab, token)),
            bos_token=self._special_text(self._bos),
            eos_token=self._special_text(llama.llama_vocab_eos(self.vocab)),
            adds_bos=bool(llama.llama_vocab_get_add_bos(self.vocab)) and self._bos >= 0,
            chat_template=template.decode(errors="replace") if template else None,
            parameters=llama.llama_model_n_params(self.handle),
            size_bytes=llama.llama_model_size(self.handle),
            metadata=dict(self._read_metadata()),
        )

    def _read_runs(self) -> Runs | None:
        """None where llama.cpp has no pre-tokenizer: only vocabularies of BPE have one."""
        if llama.llama_vocab_type(self.vocab) != llama.LLAMA_VOCAB_TYPE_BPE:
            return None
        recognised = (
            llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_USER_DEFINED | llama.LLAMA_TOKEN_ATTR_UNKNOWN
        )
        markers = {
            (llama.llama_vocab_get_text(self.vocab, token) or b"").decode(errors="replace")
            for token in range(len(self._pieces))
            if llama.llama_vocab_get_attr(self.vocab, token) & recognised
        }
        return Runs(self.info.metadata.get("tokenizer.ggml.pre", ""), markers)

    def _is_special(self, token: int) -> bool:
        """As llguidance's bridge to llama.cpp decides it: user-defined tokens count where they look like markers."""
        attributes = llama.llama_vocab_get_attr(self.vocab, token)
        if attributes & llama.LLAMA_TOKEN_ATTR_CONTROL:
            return True
        piece = self._pieces[token]
        marker = piece.startswith(b"<") and piece.endswith(b">")
        return bool(attributes & llama.LLAMA_TOKEN_ATTR_USER_DEFINED) and marker

    def _special_text(self, token: int) -> str:
        return self._pieces[token].decode(errors="replace") if token >= 0 else ""

    def _read_metadata(self) -> Iterator[tuple[str, str]]:
        for index in range(llama.llama_model_meta_count(self.handle)):
            key = _text(llama.llama_model_meta_key_by_index, self.handle, index)
            yield key, _text(llama.llama_model_meta_val_str_by_index, self.handle, index)


def load_model(path: Path, settings: Settings, on_progress: Callable[[float], None] | None = None) -> Model:
    """Loads a GGUF file (of a split one, the first part); `on_progress` hears fractions. Raises ModelLoadError."""
    _start_backend()
    if not path.is_file():
        raise ModelLoadError(path, "no such file")
    parameters = llama.llama_model_default_params()
    parameters.n_gpu_layers = settings.gpu_layers if settings.gpu_layers >= 0 else 0x7FFFFFFF
    if on_progress is not None:
        parameters.progress_callback = _progress_callback(on_progress)
    with logs.errors() as errors:
        handle = llama.llama_model_load_from_file(str(path).encode(), parameters)
    if not handle:
        raise ModelLoadError(path, _reason(errors))
    if not llama.llama_model_has_decoder(handle) or llama.llama_model_has_encoder(handle):
        llama.llama_model_free(handle)
        raise ModelLoadError(path, "not a model that continues text (it has an encoder, or no decoder)")
    return Model(path, handle, settings)


def _reason(errors: list[str]) -> str:
    """The first error is the cause; the others say that it made all the rest fail."""
    return errors[0].removeprefix("llama_model_load: error loading model: ") if errors else "llama.cpp does not say why"


def _progress_callback(on_progress: Callable[[float], None]) -> Any:
    def report(fraction: float, _: Any) -> bool:
        on_progress(fraction)
        return True

    return llama.llama_progress_callback(report)


def _start_backend() -> None:
    global _backend_ready
    with _backend:
        if not _backend_ready:
            with logs.errors():
                llama.llama_backend_init()
            _backend_ready = True


def _text(function: Callable[..., int], *arguments: Any) -> str:
    """What one of llama.cpp's functions writes into a buffer."""
    size = 256
    while True:
        buffer = ctypes.create_string_buffer(size)
        length = function(*arguments, buffer, size)
        if length < size:
            return buffer.value.decode(errors="replace")
        size = length + 1
