"""Real, tiny GGUF files for the catalog's tests, made with the library's own writer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

TENSOR = np.zeros((8, 32), np.float16)  # 256 parameters


def write_gguf(
    path: Path,
    *,
    architecture: str = "qwen3",
    file_type: gguf.LlamaFileType | None = gguf.LlamaFileType.MOSTLY_F16,
    tensors: int = 2,
    vocabulary: int = 10,
    extra: Callable[[gguf.GGUFWriter], None] | None = None,
) -> Path:
    """A GGUF with `tensors` x 256 parameters; `extra` may add metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("A test model")
    writer.add_license("mit")
    writer.add_context_length(4096)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    if file_type is not None:
        writer.add_file_type(file_type)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"token {number}" for number in range(vocabulary)])
    writer.add_token_types([1] * vocabulary)
    writer.add_token_merges([f"a{number} b{number}" for number in range(vocabulary)])
    writer.add_chat_template("{{ messages[0].content }}")
    if extra:
        extra(writer)
    _finish(writer, tensors)
    return path


def write_split(folder: Path, name: str, parts: int, *, tensors_each: int = 1) -> list[Path]:
    """`name-00001-of-0000N.gguf` and so on, as llama-gguf-split makes them: the metadata are in the first."""
    paths = [folder / f"{name}-{number:05}-of-{parts:05}.gguf" for number in range(1, parts + 1)]
    for number, path in enumerate(paths):

        def add_split(writer: gguf.GGUFWriter, number: int = number) -> None:
            writer.add_uint16(gguf.Keys.Split.LLM_KV_SPLIT_NO, number)
            writer.add_uint16(gguf.Keys.Split.LLM_KV_SPLIT_COUNT, parts)
            writer.add_int32(gguf.Keys.Split.LLM_KV_SPLIT_TENSORS_COUNT, parts * tensors_each)

        if number == 0:
            write_gguf(path, tensors=tensors_each, extra=add_split)
        else:
            writer = gguf.GGUFWriter(path, "")
            writer.kv_data[0].clear()  # not even an architecture
            add_split(writer)
            _finish(writer, tensors_each)
    return paths


def _finish(writer: gguf.GGUFWriter, tensors: int) -> None:
    for number in range(tensors):
        writer.add_tensor(f"blk.{number}.attn_q.weight", TENSOR)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
