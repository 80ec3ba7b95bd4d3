"""A program: tokenizes long runs of characters with every pre-tokenizer that llama.cpp knows.

It says on stdout what it is about to try, because a run that is too long for llama.cpp ends the process. The models are
the demo model's vocabulary under other labels, without weights.
"""

from __future__ import annotations

import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from shared.settings import REPOSITORY_MODELS, Settings
from workers.engine.model import Model, load_model

WIDTH = 32
STACK = 1536 << 10  # bytes: a fifth of what threads have, so that shorter texts show the same
LONG = 6_500  # characters: without cuts llama.cpp bears 4,000 to 5,900 of a run on that stack

PRE_TOKENIZERS = [
    "a.x-4.0", "afmoe", "bailingmoe", "bailingmoe2", "bloom", "chameleon", "chatglm-bpe", "codeshell",
    "cohere2moe", "command-r", "dbrx", "deepseek-coder", "deepseek-llm", "deepseek-r1-qwen", "deepseek-v3",
    "default", "exaone", "exaone-moe", "exaone4", "f2llmv2", "falcon", "falcon-h1", "falcon3", "gemma4",
    "gigachat", "glm4", "glm5", "gpt-2", "gpt-4o", "gpt3-finnish", "granite-docling",
    "granite-embed-multi-311m", "granite-embed-multi-97m", "grok-2", "hunyuan", "hunyuan-dense", "hy_v4",
    "jais", "jais-2", "jina-de", "jina-es", "jina-v1-en", "jina-v2-code", "jina-v2-de", "jina-v2-es",
    "jina-v5-nano", "joyai-llm", "kanana2", "kimi-k2", "kormo", "laguna", "lfm2", "llada-moe", "llama-bpe",
    "llama-v3", "llama3", "llama4", "megrez", "mellum", "mellum2", "midm-2.0", "minerva-7b", "minicpm5",
    "minimax-m2", "modern-bert", "mpt", "olmo", "phi-2", "pixtral", "poro-chat", "qwen2", "qwen35", "refact",
    "roberta-bpe", "sarvam-moe", "seed-coder", "smaug-bpe", "smollm", "solar-open", "spark2_5", "stablelm2",
    "starcoder", "superbpe", "talkie", "tekken", "tiny_aya", "trillion", "ufakzeka", "viking", "whitespace",
    "youtu",
]  # fmt: skip
"""The names in `llama_vocab::impl::load` of llama.cpp's src/llama-vocab.cpp."""

RUNS = [
    *(
        "a",
        "A",
        "aA",
        "aAb",
        " ",
        "\n",
        " \n",
        ".",
        "/",
        "_",
        "é",
        "漢",
        "か・",
        "\u0301",
        "e\u0301",
        ".\u0301",
        "😀",
        "1",
    ),
    *("a1", "ab ", "aB3+", "\xa0", "\x85", ".\xa0", "a\xa0", ".\x1c", "\x00", "\ud7ff", "\U0003ffff", "a😀", "ŉ", "ก็"),
    *("\N{ZERO WIDTH SPACE}", "１", "Ａ", "Ａ！", "።", "a።", "\u20dd", "ª", "²"),
]
"""What is repeated: each class of characters, and mixtures that some pattern takes for one."""


@cache
def of(name: str) -> Any:
    """A value of the demo model's tokenizer."""
    path = REPOSITORY_MODELS / "llamarelay/spark/spark-Q8_0.gguf"
    return gguf.GGUFReader(path).fields[f"tokenizer.ggml.{name}"].contents()


def relabelled(path: Path, pre_tokenizer: str) -> Path:
    """A GGUF with the demo model's vocabulary, the label, and next to no weights."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("whitespace" if pre_tokenizer == "whitespace" else "gpt2")
    writer.add_tokenizer_pre(pre_tokenizer)
    writer.add_token_list(of("tokens"))
    writer.add_token_types(of("token_type"))
    writer.add_token_merges(of("merges"))
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_sep_token_id):
        add(of("eos_token_id"))  # some labels want them
    writer.add_tensor("token_embd.weight", np.zeros((len(of("tokens")), WIDTH), np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((WIDTH, WIDTH), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def written(model: Model, text: str) -> bytes:
    """What its tokens read, without a first token that it does not have."""
    return b"".join(map(model.piece, model.tokenize(text)[model.info.adds_bos :]))


def tokenize_all() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in PRE_TOKENIZERS:
            model = load_model(relabelled(Path(folder) / f"{name}.gguf", name), Settings())
            for run in RUNS:
                print(name, ascii(run), flush=True)
                few, many = run * 20, run * (LONG // len(run))
                tokens = written(model, many)
                if written(model, few) == few.encode():  # a label may not fit this vocabulary
                    assert tokens == many.encode()
            model.free()
    print("done", flush=True)


if __name__ == "__main__":
    threading.stack_size(STACK)
    thread = threading.Thread(target=tokenize_all)
    thread.start()
    thread.join()
