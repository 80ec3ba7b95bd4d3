"""Writes a checkpoint as GGUF.

    python -m models.pipeline.export models/pipeline/runs/spark.pt models/llamarelay/spark Q8_0 F16

Tensor and key names: gguf-py's `constants.py` and llama.cpp's `qwen3` loader.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch

from .model import Spark
from .packing import CONTEXT, Dialect
from .tokenizer import HERE
from .train import load

FILE_TYPES = {
    "F32": gguf.LlamaFileType.ALL_F32,
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
DESCRIPTIONS = {
    "spark": "A very small chat model trained from scratch on synthetic conversations: "
    "function calls, reasoning efforts.",
    "spark-oss": "Spark in OpenAI's Harmony format with the special tokens of gpt-oss.",
}


def _tokens(dialect: Dialect, writer: gguf.GGUFWriter) -> None:
    model = json.loads((HERE / "tokenizer.json").read_text())
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__) + dialect.specials
    types = [
        gguf.TokenType.CONTROL
        if t in dialect.control
        else gguf.TokenType.USER_DEFINED
        if t in dialect.specials
        else gguf.TokenType.NORMAL
        for t in tokens
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(m) for m in model["merges"]])
    writer.add_bos_token_id(tokens.index(dialect.bos))
    writer.add_eos_token_id(tokens.index(dialect.eos))
    writer.add_pad_token_id(tokens.index(dialect.pad))
    writer.add_add_bos_token(False)
    writer.add_chat_template((HERE / dialect.template).read_text())


def export(model: Spark, dialect: Dialect, path: Path, kind: str) -> None:
    """Writes `model` to `path`; `kind` is F32, F16 or Q8_0 (matrices; the norms are always F32)."""
    c = model.c
    writer = gguf.GGUFWriter(str(path), "qwen3")
    writer.add_name("Spark" if dialect.name == "spark" else "Spark OSS")
    writer.add_basename(dialect.name)
    writer.add_author("llamarelay")
    writer.add_license("mit")
    writer.add_description(DESCRIPTIONS[dialect.name])
    writer.add_size_label(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}M")
    writer.add_languages(["en"])
    writer.add_file_type(FILE_TYPES[kind])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(c.layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(c.width)
    writer.add_feed_forward_length(c.hidden)
    writer.add_head_count(c.heads)
    writer.add_head_count_kv(c.kv_heads)
    writer.add_key_length(c.head_width)
    writer.add_value_length(c.head_width)
    writer.add_rope_freq_base(c.rope_base)
    writer.add_layer_norm_rms_eps(c.epsilon)
    writer.add_vocab_size(c.vocabulary)
    _tokens(dialect, writer)
    for name, tensor in model.state_dict().items():
        array = tensor.detach().float().numpy()
        target = name if name.endswith(".weight") else name + ".weight"
        if array.ndim == 2 and kind == "F16":
            writer.add_tensor(target, array.astype(np.float16))
        elif array.ndim == 2 and kind == "Q8_0":
            quantized = gguf.quants.quantize(array, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(target, quantized, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(target, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("kinds", nargs="+", choices=FILE_TYPES)
    a = parser.parse_args()
    torch.set_num_threads(1)
    model, dialect = load(a.checkpoint)
    a.folder.mkdir(parents=True, exist_ok=True)
    for kind in a.kinds:
        path = a.folder / f"{dialect.name}-{kind}.gguf"
        export(model, dialect, path, kind)
        print(path, f"{path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
