"""Tiny models with random weights, of architectures whose memory is not a plain KV cache. F32 keeps rounding small."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

VOCABULARY = 300  # the 256 bytes, and control tokens
WIDTH, FEED_FORWARD, HEADS, HEAD = 64, 128, 2, 32
STATE, INNER, RANK, CONVOLUTION = 16, 2 * WIDTH, 8, 4


class RandomModel:
    def __init__(self, path: Path, architecture: str, layers: int) -> None:
        self._random = np.random.default_rng(1)
        self._writer = writer = gguf.GGUFWriter(path, architecture)
        writer.add_block_count(layers)
        writer.add_context_length(2048)
        writer.add_embedding_length(WIDTH)
        writer.add_feed_forward_length(FEED_FORWARD)
        writer.add_head_count(HEADS)
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_vocab_size(VOCABULARY)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("default")
        normal = [*(chr(0x100 + i) for i in range(256)), "ab"]
        control = [f"<|{i}|>" for i in range(len(normal), VOCABULARY)]
        writer.add_token_list([*normal, *control])
        writer.add_token_types([gguf.TokenType.NORMAL] * len(normal) + [gguf.TokenType.CONTROL] * len(control))
        writer.add_token_merges(["a b"])
        writer.add_eos_token_id(VOCABULARY - 1)
        self.weight("token_embd.weight", VOCABULARY, WIDTH, scale=1.0)
        self.ones("output_norm.weight", WIDTH)

    @property
    def writer(self) -> gguf.GGUFWriter:
        return self._writer

    def weight(self, name: str, *shape: int, scale: float | None = None) -> None:
        values = self._random.standard_normal(shape, dtype=np.float32)
        self._writer.add_tensor(name, values * np.float32(shape[-1] ** -0.5 if scale is None else scale))

    def ones(self, name: str, size: int, value: float = 1.0) -> None:
        self._writer.add_tensor(name, np.full(size, value, np.float32))

    def feed_forward(self, block: str) -> None:
        self.ones(f"{block}.ffn_norm.weight", WIDTH)
        self.weight(f"{block}.ffn_gate.weight", FEED_FORWARD, WIDTH)
        self.weight(f"{block}.ffn_up.weight", FEED_FORWARD, WIDTH)
        self.weight(f"{block}.ffn_down.weight", WIDTH, FEED_FORWARD)

    def attention(self, block: str) -> None:
        self.ones(f"{block}.attn_norm.weight", WIDTH)
        for name in ("q", "k", "v", "output"):
            self.weight(f"{block}.attn_{name}.weight", WIDTH, WIDTH)

    def state_space(self, block: str) -> None:
        self.ones(f"{block}.attn_norm.weight", WIDTH)
        self.weight(f"{block}.ssm_in.weight", 2 * INNER, WIDTH)
        self.weight(f"{block}.ssm_conv1d.weight", INNER, CONVOLUTION)
        self.weight(f"{block}.ssm_conv1d.bias", INNER, scale=0.1)
        self.weight(f"{block}.ssm_x.weight", RANK + 2 * STATE, INNER)
        self.weight(f"{block}.ssm_dt.weight", INNER, RANK)
        self.weight(f"{block}.ssm_dt.bias", INNER, scale=0.1)
        self._writer.add_tensor(f"{block}.ssm_a", np.tile(-np.arange(1, STATE + 1, dtype=np.float32), (INNER, 1)))
        self.ones(f"{block}.ssm_d", INNER)
        self.weight(f"{block}.ssm_out.weight", WIDTH, INNER)

    def state_space_keys(self) -> None:
        self._writer.add_ssm_conv_kernel(CONVOLUTION)
        self._writer.add_ssm_inner_size(INNER)
        self._writer.add_ssm_state_size(STATE)
        self._writer.add_ssm_time_step_rank(RANK)

    def write(self) -> None:
        self._writer.write_header_to_file()
        self._writer.write_kv_data_to_file()
        self._writer.write_tensors_to_file()
        self._writer.close()


def sliding_window(path: Path) -> None:
    """gemma3: five layers of six see 64 tokens only."""
    model = RandomModel(path, "gemma3", 6)
    model.writer.add_head_count_kv(HEADS)
    model.writer.add_key_length(HEAD)
    model.writer.add_value_length(HEAD)
    model.writer.add_sliding_window(64)
    for number in range(6):
        block = f"blk.{number}"
        model.attention(block)
        model.feed_forward(block)
        model.ones(f"{block}.attn_q_norm.weight", HEAD)
        model.ones(f"{block}.attn_k_norm.weight", HEAD)
        model.ones(f"{block}.post_attention_norm.weight", WIDTH)
        model.ones(f"{block}.post_ffw_norm.weight", WIDTH)
    model.write()


def image_positions(path: Path) -> None:
    """qwen2vl: M-RoPE, where an image takes fewer positions than cells."""
    model = RandomModel(path, "qwen2vl", 2)
    model.writer.add_head_count_kv(HEADS)
    model.writer.add_rope_dimension_sections([4, 6, 6, 0])
    for number in range(2):
        block = f"blk.{number}"
        model.attention(block)
        model.feed_forward(block)
        for name in ("q", "k", "v"):
            model.weight(f"{block}.attn_{name}.bias", WIDTH, scale=0.1)
    model.write()


def recurrent(path: Path) -> None:
    """mamba: a state instead of a KV cache."""
    model = RandomModel(path, "mamba", 2)
    model.state_space_keys()
    for number in range(2):
        model.state_space(f"blk.{number}")
    model.write()


def hybrid(path: Path) -> None:
    """jamba: a layer with a state, one with attention."""
    model = RandomModel(path, "jamba", 2)
    model.state_space_keys()
    model.writer.add_head_count_kv([0, HEADS])
    for number in range(2):
        block = f"blk.{number}"
        model.feed_forward(block)
        if number:
            model.attention(block)
            continue
        model.state_space(block)
        model.ones(f"{block}.ssm_dt_norm.weight", RANK)
        model.ones(f"{block}.ssm_b_norm.weight", STATE)
        model.ones(f"{block}.ssm_c_norm.weight", STATE)
    model.write()
