"""What a GGUF file says about itself, read without its weights and without trusting it.

`gguf.GGUFReader` builds several arrays for every token of the vocabulary: 7 s and 500 MB for a 150k vocabulary. This
reader steps over arrays (50 ms for the same file) and bounds every length, so that a hostile file costs little time
and memory. Names and numbers of the format come from the `gguf` library.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import os
import stat
import struct
from collections import Counter
from pathlib import Path
from typing import BinaryIO

import gguf
import msgspec

from shared.catalog.naming import printable

READ_AHEAD = 1 << 20  # bytes
MAX_HEADER = 1 << 28  # bytes; a 250k vocabulary with merges makes about 15 MB
MAX_PAIRS = 1 << 14
MAX_TENSORS = 1 << 17
MAX_STRINGS = 1 << 22  # strings stepped over in one file; the largest vocabularies with merges stay under a million
MAX_KEY = 1 << 10
MAX_VALUE = 1 << 20  # of a string that is kept; chat templates are under 100 KB
MAX_SHOWN = 200  # characters of a name or license
MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
MAX_ELEMENTS = 1 << 62
MAX_LAYERS = 512  # LLAMA_MAX_LAYERS

type_of = gguf.GGUFValueType
SCALARS = {
    type_of.UINT8: "B",
    type_of.INT8: "b",
    type_of.UINT16: "H",
    type_of.INT16: "h",
    type_of.UINT32: "I",
    type_of.INT32: "i",
    type_of.FLOAT32: "f",
    type_of.BOOL: "?",
    type_of.UINT64: "Q",
    type_of.INT64: "q",
    type_of.FLOAT64: "d",
}
TEXTS = {
    gguf.Keys.General.ARCHITECTURE,
    gguf.Keys.General.TYPE,
    gguf.Keys.General.NAME,
    gguf.Keys.General.LICENSE,
    gguf.Keys.Tokenizer.CHAT_TEMPLATE,
}
LENGTH = struct.Struct("<Q")
Value = str | int | float


class HeaderError(ValueError):
    """The file is not a GGUF that llama.cpp could load; the message is the reason, for people."""


class Header(msgspec.Struct, frozen=True):
    """One GGUF file. What it does not say is None; `size_bytes` and `parameters` are of this file alone."""

    size_bytes: int
    parameters: int
    architecture: str | None = None
    kind: str | None = None  # general.type: model, adapter, mmproj, imatrix
    name: str | None = None
    license: str | None = None
    file_type: str | None = None  # general.file_type as its name: Q4_K_M
    largest_tensor_type: str | None = None  # which most bytes are stored in: Q4_K
    context_length: int | None = None  # tokens the model was trained for
    embedding_length: int | None = None
    layers: int | None = None
    vocabulary: int | None = None  # tokens
    chat_template: str | None = None
    split_count: int = 1  # parts, as the file itself says


def read_header(path: Path) -> Header:
    """The header of the GGUF at `path`. Raises HeaderError with the reason it is unusable, truncation included."""
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise HeaderError("not a regular file")
            return _Reader(file, status.st_size).header()
    except OSError as error:
        raise HeaderError(f"cannot be read: {error.strerror}") from error


class _Reader:
    """A cursor over the head of a file; `_buffer` holds the bytes from `_start` on."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._start = 0
        self._buffer = b""
        self._position = 0  # in the file
        self._strings_left = MAX_STRINGS

    def header(self) -> Header:
        tensors, pairs = self._preamble()
        values: dict[str, Value] = {}
        lengths: dict[str, int] = {}
        for _ in range(pairs):
            self._pair(values, lengths)
        parameters, stored = self._tensors(tensors, values)
        return _describe(self._size, parameters, stored, values, lengths)

    def _preamble(self) -> tuple[int, int]:
        """The counts of tensors and key-value pairs."""
        magic = self._take(4)
        if magic != struct.pack("<I", gguf.GGUF_MAGIC):
            raise HeaderError("not a GGUF file" if magic.strip(b"\0") else "empty: its download did not finish")
        (version,) = self._unpack("<I")
        if version & 0xFFFF == 0:
            raise HeaderError("a big-endian GGUF; this machine needs a little-endian one")
        if version not in (2, gguf.GGUF_VERSION):
            raise HeaderError(f"GGUF version {version}; versions 2 and {gguf.GGUF_VERSION} are supported")
        tensors, pairs = self._unpack("<QQ")
        if tensors > MAX_TENSORS or pairs > MAX_PAIRS:
            raise HeaderError(f"damaged: it claims {tensors} tensors and {pairs} metadata entries")
        return tensors, pairs

    def _pair(self, values: dict[str, Value], lengths: dict[str, int]) -> None:
        """Reads one key and its value; keeps scalars and the strings we show, and of an array its length."""
        key = self._string(MAX_KEY, "a metadata key")
        if key in values or key in lengths:
            raise HeaderError(f"damaged: {printable(key)} is there twice")
        kind = self._type()
        if kind is type_of.ARRAY:
            item = self._type()
            (lengths[key],) = self._unpack("<Q")
            self._skip_array(key, item, lengths[key])
        elif kind is not type_of.STRING:
            (values[key],) = self._unpack("<" + SCALARS[kind])
        elif key in TEXTS:
            values[key] = self._string(MAX_VALUE, key)
        else:
            self._skip(*self._unpack("<Q"))

    def _tensors(self, count: int, values: dict[str, Value]) -> tuple[int, Counter[str]]:
        """The number of parameters, and the bytes in each tensor type. Raises HeaderError if weights are missing."""
        parameters, end, stored = 0, 0, Counter[str]()
        for _ in range(count):
            self._skip(*self._unpack("<Q"))  # the name
            (dimensions,) = self._unpack("<I")
            if dimensions > MAX_DIMENSIONS:
                raise HeaderError(f"damaged: a tensor of {dimensions} dimensions")
            elements = 1
            for length in self._unpack(f"<{dimensions}Q"):
                elements *= length
            if elements > MAX_ELEMENTS:
                raise HeaderError(f"damaged: a tensor of {elements:.0e} elements")
            code, offset = self._unpack("<IQ")
            parameters += elements
            try:
                kind = gguf.GGMLQuantizationType(code)
            except ValueError:
                continue  # newer than the library; llama.cpp may know it
            block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
            size = elements // block * block_bytes
            stored[kind.name] += size
            end = max(end, offset + size)
        alignment = values.get(gguf.Keys.General.ALIGNMENT, gguf.GGUF_DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise HeaderError("damaged: general.alignment is not a power of two")
        end += -(-self._position // alignment) * alignment if end else 0
        if end > self._size:
            raise HeaderError(f"truncated: {self._size} of {end} bytes")
        return parameters, stored

    def _skip_array(self, key: str, item: gguf.GGUFValueType, length: int) -> None:
        if item is type_of.ARRAY:
            raise HeaderError(f"damaged: {printable(key)} is an array of arrays")
        if item is not type_of.STRING:
            self._skip(length * struct.calcsize("<" + SCALARS[item]))
            return
        self._strings_left -= length
        if self._strings_left < 0:
            raise HeaderError(f"damaged: {printable(key)} claims {length} strings")
        self._skip_strings(length)

    def _skip_strings(self, count: int) -> None:
        """Steps over `count` strings; the inner loop is what a large vocabulary costs."""
        while count:
            self._fill(LENGTH.size)
            buffer, offset, unpack = self._buffer, self._position - self._start, LENGTH.unpack_from
            last = len(buffer) - LENGTH.size
            while count and offset <= last:
                offset += LENGTH.size + unpack(buffer, offset)[0]
                count -= 1
            self._position = self._start + offset
            self._skip(0)

    def _type(self) -> gguf.GGUFValueType:
        (code,) = self._unpack("<I")
        try:
            return gguf.GGUFValueType(code)
        except ValueError:
            raise HeaderError(f"damaged: unknown metadata type {code}") from None

    def _string(self, longest: int, what: str) -> str:
        (length,) = self._unpack("<Q")
        if length > longest:
            raise HeaderError(f"damaged: {printable(what)} of {length} bytes")
        return self._take(length).decode("utf-8", "replace")

    def _unpack(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))

    def _take(self, count: int) -> bytes:
        self._fill(count)
        offset = self._position - self._start
        self._position += count
        return self._buffer[offset : offset + count]

    def _skip(self, count: int) -> None:
        """Moves on without reading. Raises HeaderError if that is past the end of the file."""
        self._position += count
        self._check(self._position)

    def _fill(self, count: int) -> None:
        """Makes the buffer hold the `count` bytes from the position on."""
        self._check(self._position + count)
        if self._start + len(self._buffer) - self._position >= count and self._position >= self._start:
            return
        self._file.seek(self._position)
        self._start, self._buffer = self._position, self._file.read(max(count, READ_AHEAD))
        if len(self._buffer) < count:  # it has become shorter meanwhile
            raise HeaderError("truncated within its metadata")

    def _check(self, end: int) -> None:
        if end > self._size:
            raise HeaderError("truncated within its metadata")
        if end > MAX_HEADER:
            raise HeaderError(f"damaged: more than {MAX_HEADER >> 20} MiB of metadata")


def _describe(
    size: int, parameters: int, stored: Counter[str], values: dict[str, Value], lengths: dict[str, int]
) -> Header:
    general, split = gguf.Keys.General, gguf.Keys.Split

    def text(key: str) -> str | None:
        value = values.get(key)
        return printable(value[:MAX_SHOWN]) if isinstance(value, str) and value.strip() else None

    def number(key: str) -> int | None:
        value = values.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32 else None

    architecture, template = text(general.ARCHITECTURE), values.get(gguf.Keys.Tokenizer.CHAT_TEMPLATE)
    _check_numbers(values, architecture)
    code = number(general.FILE_TYPE)
    file_type = (
        gguf.LlamaFileType(code).name if code in set(gguf.LlamaFileType) - {gguf.LlamaFileType.GUESSED} else None
    )
    return Header(
        size_bytes=size,
        parameters=parameters,
        architecture=architecture,
        kind=text(general.TYPE),
        name=text(general.NAME),
        license=text(general.LICENSE),
        file_type=file_type.removeprefix("MOSTLY_").removeprefix("ALL_") if file_type else None,
        largest_tensor_type=stored.most_common(1)[0][0] if stored else None,
        context_length=number(gguf.Keys.LLM.CONTEXT_LENGTH.format(arch=architecture)),
        embedding_length=number(gguf.Keys.LLM.EMBEDDING_LENGTH.format(arch=architecture)),
        layers=number(gguf.Keys.LLM.BLOCK_COUNT.format(arch=architecture)),
        vocabulary=lengths.get(gguf.Keys.Tokenizer.LIST),
        chat_template=template if isinstance(template, str) else None,
        split_count=number(split.LLM_KV_SPLIT_COUNT) or 1,
    )


def _check_numbers(values: dict[str, Value], architecture: str | None) -> None:
    """Raises HeaderError for numbers at which llama.cpp does not refuse the file but ends its process."""
    llm, attention = gguf.Keys.LLM, gguf.Keys.Attention
    layers, width = (values.get(key.format(arch=architecture)) for key in (llm.BLOCK_COUNT, llm.EMBEDDING_LENGTH))
    if isinstance(layers, int) and not 1 <= layers <= MAX_LAYERS:
        raise HeaderError(f"damaged: it claims {layers} layers (block_count); llama.cpp takes 1 to {MAX_LAYERS}")
    if isinstance(width, int) and width < 1:
        raise HeaderError(f"damaged: its embedding_length is {width}")
    for key in (attention.LAYERNORM_EPS, attention.LAYERNORM_RMS_EPS, attention.GROUPNORM_EPS):
        epsilon = values.get(key.format(arch=architecture))
        if isinstance(epsilon, float) and not (epsilon >= 0 and math.isfinite(epsilon)):
            raise HeaderError(f"damaged: its {key.rpartition('.')[2]} is {epsilon}")
