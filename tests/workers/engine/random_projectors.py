"""Tiny vision projectors with random weights: what a model sees through them means nothing, but it is an image."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WIDTH, FEED_FORWARD, HEADS, LAYERS = 32, 64, 2, 1
PATCH = 8
MERGED = 2 * PATCH  # pixels along one side of what becomes one token


class RandomProjector:
    def __init__(self, path: Path, kind: str, projection: int, image_size: int) -> None:
        self._random = np.random.default_rng(2)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.writer = writer = gguf.GGUFWriter(path, "clip")
        writer.add_type("mmproj")
        writer.add_bool("clip.has_vision_encoder", True)
        writer.add_string("clip.projector_type", kind)
        writer.add_bool("clip.use_gelu", True)
        writer.add_uint32("clip.vision.embedding_length", WIDTH)
        writer.add_uint32("clip.vision.attention.head_count", HEADS)
        writer.add_uint32("clip.vision.feed_forward_length", FEED_FORWARD)
        writer.add_uint32("clip.vision.block_count", LAYERS)
        writer.add_uint32("clip.vision.projection_dim", projection)
        writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
        writer.add_uint32("clip.vision.image_size", image_size)
        writer.add_uint32("clip.vision.patch_size", PATCH)
        writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
        writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
        for number in range(LAYERS):
            block = f"v.blk.{number}"
            for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
                self.linear(f"{block}.{name}", WIDTH, WIDTH)
            for name in ("ln1", "ln2"):
                self.norm(f"{block}.{name}")
            self.linear(f"{block}.ffn_up", FEED_FORWARD, WIDTH)
            self.linear(f"{block}.ffn_down", WIDTH, FEED_FORWARD)
        self.norm("v.post_ln")

    def weight(self, name: str, *shape: int) -> None:
        fan_in = int(np.prod(shape[1:]))
        values = self._random.standard_normal(shape, dtype=np.float32)
        self.writer.add_tensor(name, values * np.float32(fan_in**-0.5))

    def linear(self, name: str, outputs: int, inputs: int) -> None:
        self.weight(f"{name}.weight", outputs, inputs)
        self.writer.add_tensor(f"{name}.bias", np.zeros(outputs, np.float32))

    def norm(self, name: str) -> None:
        self.writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
        self.writer.add_tensor(f"{name}.bias", np.zeros(WIDTH, np.float32))

    def write(self) -> Path:
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()
        return self.writer.path  # type: ignore[return-value]


def any_size(path: Path, projection: int) -> None:
    """Qwen2-VL's: an image of W x H becomes about W/16 x H/16 tokens, from 8 to 4096."""
    projector = RandomProjector(path, "qwen2vl_merger", projection, 64)
    projector.weight("v.patch_embd.weight", WIDTH, 3, PATCH, PATCH)
    projector.weight("v.patch_embd.weight.1", WIDTH, 3, PATCH, PATCH)
    projector.linear("mm.0", 4 * WIDTH, 4 * WIDTH)
    projector.linear("mm.2", projection, 4 * WIDTH)
    projector.write()


def one_size(path: Path, projection: int, side: int = 64) -> None:
    """Gemma 3's: every image becomes (side/16)² tokens, which see each other in both directions."""
    projector = RandomProjector(path, "gemma3", projection, side)
    projector.writer.add_uint32("clip.vision.projector.scale_factor", 2)
    projector.weight("v.patch_embd.weight", WIDTH, 3, PATCH, PATCH)
    projector.writer.add_tensor("v.patch_embd.bias", np.zeros(WIDTH, np.float32))
    projector.weight("v.position_embd.weight", (side // PATCH) ** 2, WIDTH)
    projector.weight("mm.input_projection.weight", WIDTH, projection)
    projector.writer.add_tensor("mm.soft_emb_norm.weight", np.ones(WIDTH, np.float32))
    projector.write()
