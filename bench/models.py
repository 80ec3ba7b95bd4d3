"""Models of a real shape with random weights: what they say means nothing, what they cost is real.

Generation never stops early. Component 0 of the residual stream is kept for that: no layer writes to it (the rows of
the matrices that would are zero), every embedding has it above zero, a word's is eight times that of every other
token, and the last norm weighs it. So a word's logit is always far above that of an end token, a control token or a
piece of a word, whatever the layers compute; and as embeddings are tied, nothing else is needed. What is sampled are
words of seven characters, one token each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import quantize
from numpy.typing import NDArray

from bench.words import CONTROL, SEED, merges, vocabulary

FOLDER = Path(__file__).parent / "models"
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTEXT = 32768
WORD_MARK, OTHER_MARK = 0.8, 0.1  # component 0 of a token's embedding
SPREAD = 0.05  # of the other components
MARK_WEIGHT, WEIGHT = 120.0, 2.5  # of the last norm: the logits of words spread by about 2.5


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a qwen3 model."""

    name: str
    width: int
    layers: int
    heads: int
    kv_heads: int
    hidden: int  # of the feed-forward part
    head: int = 64

    @property
    def key(self) -> str:
        """How requests name it."""
        return f"bench/{self.name}"


SMALL = Shape("random-100m", width=512, layers=8, heads=8, kv_heads=4, hidden=1536)
LARGE = Shape("random-500m", width=896, layers=24, heads=14, kv_heads=2, hidden=4864)


def ensure(shape: Shape, folder: Path = FOLDER) -> Path:
    """The model's file in a models folder, made now if there is none."""
    path = folder / "bench" / shape.name / f"{shape.name}-Q8_0.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        _write(shape, partial)
        partial.rename(path)
    return path


def _write(shape: Shape, path: Path) -> None:
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_name(shape.name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(shape.layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    _write_vocabulary(writer)
    for name, values in _tensors(shape):
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_vocabulary(writer: gguf.GGUFWriter) -> None:
    tokens, _ = vocabulary()
    normal, control = int(gguf.TokenType.NORMAL), int(gguf.TokenType.CONTROL)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([normal] * (len(tokens) - len(CONTROL)) + [control] * len(CONTROL))
    writer.add_token_merges(merges())
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)


def _tensors(shape: Shape) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Names and values, matrices as (outputs, inputs)."""
    generator = np.random.default_rng(SEED)
    width = shape.width

    def matrix(outputs: int, inputs: int, gain: float = 1.0) -> NDArray[np.float32]:
        values = generator.standard_normal((outputs, inputs), dtype=np.float32)
        return values * np.float32(gain / np.sqrt(inputs))

    def to_residual(inputs: int) -> NDArray[np.float32]:
        values = matrix(width, inputs, 0.2)
        values[0] = 0
        return values

    def ones(count: int) -> NDArray[np.float32]:
        return np.ones(count, np.float32)

    tokens, first_word = vocabulary()
    last_norm = ones(width) * np.float32(WEIGHT)
    last_norm[0] = MARK_WEIGHT
    yield "token_embd.weight", _embeddings(generator, len(tokens), first_word, width)
    yield "output_norm.weight", last_norm
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", ones(width)
        yield f"{block}.attn_q.weight", matrix(shape.heads * shape.head, width)
        yield f"{block}.attn_k.weight", matrix(shape.kv_heads * shape.head, width)
        yield f"{block}.attn_v.weight", matrix(shape.kv_heads * shape.head, width)
        yield f"{block}.attn_q_norm.weight", ones(shape.head)
        yield f"{block}.attn_k_norm.weight", ones(shape.head)
        yield f"{block}.attn_output.weight", to_residual(shape.heads * shape.head)
        yield f"{block}.ffn_norm.weight", ones(width)
        yield f"{block}.ffn_gate.weight", matrix(shape.hidden, width)
        yield f"{block}.ffn_up.weight", matrix(shape.hidden, width)
        yield f"{block}.ffn_down.weight", to_residual(shape.hidden)


def _embeddings(generator: np.random.Generator, tokens: int, first_word: int, width: int) -> NDArray[np.float32]:
    values = generator.standard_normal((tokens, width), dtype=np.float32) * np.float32(SPREAD)
    end = tokens - len(CONTROL)
    values[:first_word] = values[end:] = 0
    values[:, 0] = OTHER_MARK
    values[first_word:end, 0] = WORD_MARK
    return values
