"""The projector that turns pictures into embeddings: llama.cpp's mtmd, in a thread of its own.

A prompt needs only the sizes of its pictures to be read; what is in them is looked at when the engine comes to them
and finds them in no cache, while other sequences go on.
"""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama
import llama_cpp.mtmd_cpp as mtmd
import numpy as np
from numpy.typing import NDArray

from shared.data_urls import read_data_url
from shared.images import BadImage, read_image
from workers.engine import logs
from workers.engine.core import EngineFailed, ImageCells, Picture, PictureRefused, Reading
from workers.engine.images import ImageNumbers, run

CACHE_BYTES = 256 << 20  # of embeddings, for pictures that come again
SECTIONS = 4  # of an M-RoPE position

Embeddings = list[NDArray[np.float32]]
"""Of each part of a picture: a row for each cell."""

_router = logs.Router(mtmd.mtmd_helper_log_set)


class ProjectorError(Exception):
    """The projector cannot be used, with llama.cpp's own reason."""


@dataclass(slots=True)
class _Look:
    """A picture that is, or was, looked at."""

    future: Future[Embeddings]
    users: int = 0  # sequences that wait for it or are to be shown it
    size: int = 0  # bytes


class Vision:
    """One projector. `read` may be called from any thread; `free` when nobody uses it any more."""

    def __init__(
        self, path: Path, model: Any, *, threads: int, gpu: bool, at_once: int, on_seen: Callable[[], None]
    ) -> None:
        """`model`: the handle of the language model. `at_once`: cells that can be computed together. `on_seen` is
        called, in another thread, when a picture has been looked at. Raises ProjectorError."""
        parameters = mtmd.mtmd_context_params_default()
        parameters.use_gpu = gpu
        parameters.print_timings = False
        parameters.n_threads = threads
        parameters.warmup = False
        with _router.errors() as errors:
            self._handle = mtmd.mtmd_init_from_file(str(path).encode(), model, parameters)
        if not self._handle:
            raise ProjectorError("; ".join(errors) or "llama.cpp does not say why")
        if not mtmd.mtmd_support_vision(self._handle):
            mtmd.mtmd_free(self._handle)
            raise ProjectorError("it is for sound, not for images")
        self._model = model
        self._mrope = bool(mtmd.mtmd_decode_use_mrope(self._handle))
        self._whole = bool(mtmd.mtmd_decode_use_non_causal(self._handle, None))
        self._width = llama.llama_model_n_embd_inp(model)
        self._at_once = at_once
        self._on_seen = on_seen
        self._numbers = ImageNumbers()
        self._looks: OrderedDict[str, _Look] = OrderedDict()  # by last use
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._freed = False
        self._thread = ThreadPoolExecutor(1, "vision")

    @property
    def mrope(self) -> bool:
        """Whether a picture takes fewer positions than cells."""
        return self._mrope

    def read(self, parts: Sequence[str | Picture], bos: int | None) -> Reading:
        """The tokens of a prompt, `bos` first unless it is there already. Raises PictureRefused, or EngineFailed after
        `free`."""
        with self._reading:
            if self._freed:
                raise EngineFailed("the engine was closed")
            return self._read(parts, bos)

    def look(self, picture: Picture) -> Future[Embeddings]:
        """The embeddings of a picture, now or later; `look_away` when they are not needed any more."""
        with self._lock:
            look = self._looks.get(picture.digest)
            if look is None:
                look = _Look(Future())
                self._looks[picture.digest] = look
                self._thread.submit(self._see, picture, look)
            self._looks.move_to_end(picture.digest)
            look.users += 1
            return look.future

    def look_away(self, picture: Picture) -> None:
        with self._lock:
            look = self._looks.get(picture.digest)
            if look is not None:
                look.users -= 1

    def free(self) -> None:
        self._thread.shutdown(cancel_futures=True)
        with self._reading:
            self._freed = True
            mtmd.mtmd_free(self._handle)

    def _read(self, parts: Sequence[str | Picture], bos: int | None) -> Reading:
        tokens: list[int] = []
        images: list[ImageCells] = []
        seen: dict[int, int] = {}  # how many parts of a picture there were already
        shift = 0
        with self._chunks(parts) as chunks:
            for chunk in chunks:
                if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
                    tokens += _text_tokens(chunk)
                    continue
                if bos is not None and tokens[:1] != [bos]:
                    tokens.insert(0, bos)
                number = int(mtmd.mtmd_input_chunk_get_id(chunk) or b"0")
                picture = parts[number]
                assert isinstance(picture, Picture)
                cells = self._cells(chunk, picture, seen.get(number, 0), len(tokens), len(tokens) - shift)
                seen[number] = cells.part + 1
                shift += cells.count - cells.span
                images.append(cells)
                tokens += run(self._numbers.of(picture.digest, cells.part), cells.count, cells.span)
        return Reading(tokens, tuple(images))

    def _see(self, picture: Picture, look: _Look) -> None:
        with self._lock:
            if look.users == 0:  # all who wanted it have left
                del self._looks[picture.digest]
                look.future.cancel()
                return
        try:
            embeddings = self._encode(picture)
        except Exception as error:
            with self._lock:
                self._looks.pop(picture.digest, None)
            look.future.set_exception(EngineFailed(f"a picture could not be looked at: {error}"))
        else:
            look.size = sum(part.nbytes for part in embeddings)
            look.future.set_result(embeddings)
            self._forget()
        self._on_seen()

    def _forget(self) -> None:
        """Sees that the cache does not grow; what is in use stays."""
        with self._lock:
            size = sum(look.size for look in self._looks.values())
            for digest in list(self._looks):
                if size <= CACHE_BYTES:
                    break
                if self._looks[digest].users == 0 and self._looks[digest].future.done():
                    size -= self._looks.pop(digest).size

    def _encode(self, picture: Picture) -> Embeddings:
        pixels = read_image(read_data_url(picture.url), picture.width * picture.height)
        if (pixels.width, pixels.height) != (picture.width, picture.height):
            raise BadImage("it does not have the size it had", "image_parse_error")
        embeddings = []
        with self._chunks([picture], pixels.rgb) as chunks:
            for chunk in chunks:
                if mtmd.mtmd_input_chunk_get_type(chunk) != mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE:
                    continue
                if mtmd.mtmd_encode_chunk(self._handle, chunk) != 0:
                    raise EngineFailed("the projector failed")
                shape = (mtmd.mtmd_input_chunk_get_n_tokens(chunk), self._width)
                embeddings.append(np.ctypeslib.as_array(mtmd.mtmd_get_output_embd(self._handle), shape).copy())
        return embeddings

    def _cells(self, chunk: Any, picture: Picture, part: int, start: int, position: int) -> ImageCells:
        count = mtmd.mtmd_input_chunk_get_n_tokens(chunk)
        if self._whole and count > self._at_once:
            raise PictureRefused(
                f"a picture of {picture.width} x {picture.height} pixels takes {count} tokens of this model at once, "
                f"MICRO_BATCH_TOKENS and BATCH_TOKENS allow {self._at_once}"
            )
        positions = None
        if self._mrope:
            raw = (mtmd.mtmd_decoder_pos * count)()
            image = mtmd.mtmd_input_chunk_get_tokens_image(chunk)
            mtmd.mtmd_helper_image_get_decoder_pos(image, position, raw)
            columns = np.frombuffer(raw, np.uint32).reshape(count, SECTIONS).astype(np.int32)
            positions = np.ascontiguousarray(columns[:, [0, 2, 1, 3]].T)  # t, y, x, z: as mtmd-helper-common.h has it
        span = mtmd.mtmd_input_chunk_get_n_pos(chunk)
        return ImageCells(start, count, picture, part, self._whole, span, positions)

    @contextmanager
    def _chunks(self, parts: Sequence[str | Picture], rgb: bytes | None = None) -> Iterator[Iterator[Any]]:
        """mtmd's chunks of a prompt, which live as long as the context; without pixels they only have sizes."""
        with ExitStack() as stack:
            raw = (ctypes.POINTER(mtmd.mtmd_input_part) * len(parts))()
            kept: list[Any] = []  # what `raw` points to
            for number, part in enumerate(parts):
                entry = mtmd.mtmd_input_part()
                if isinstance(part, str):
                    data = part.encode(errors="replace")
                    text = mtmd.mtmd_input_text(data, len(data), False, True)
                    entry.text = ctypes.pointer(text)
                    kept += [data, text]
                else:
                    pixels = None if rgb is None else (ctypes.c_uint8 * len(rgb)).from_buffer_copy(rgb)
                    bitmap = mtmd.mtmd_bitmap_init(part.width, part.height, pixels)
                    stack.callback(mtmd.mtmd_bitmap_free, bitmap)
                    mtmd.mtmd_bitmap_set_id(bitmap, str(number).encode())
                    entry.bitmap = bitmap
                kept.append(entry)
                raw[number] = ctypes.pointer(entry)
            chunks = mtmd.mtmd_input_chunks_init()
            stack.callback(mtmd.mtmd_input_chunks_free, chunks)
            code = mtmd.mtmd_tokenize_from_parts(self._handle, chunks, raw, len(parts), False)
            if code != 0:
                raise PictureRefused("the projector cannot take a picture of this size")
            yield (mtmd.mtmd_input_chunks_get(chunks, i) for i in range(mtmd.mtmd_input_chunks_size(chunks)))


def _text_tokens(chunk: Any) -> list[int]:
    count = ctypes.c_size_t()
    tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
    return list(tokens[: count.value])
