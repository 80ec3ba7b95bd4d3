"""Qwen3's architecture in plain PyTorch, as llama.cpp runs it (`llama.cpp/src/models/qwen3.cpp`)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

# (query [B, heads, T, 64], key [B, kv_heads, T, 64], value) -> [B, heads, T, 64]
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes. 5.7M parameters by default: 11.5 MB in F16."""

    vocabulary: int = 2304
    width: int = 256
    layers: int = 8
    heads: int = 4
    kv_heads: int = 2
    head_width: int = 64
    hidden: int = 576
    rope_base: float = 1_000_000.0
    epsilon: float = 1e-6

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return functional.rms_norm(x.float(), (x.shape[-1],), weight, epsilon)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding in halves ("neox"): x is [B, heads, T, 64], cos and sin are [B, 1, T, 32]."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Block(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        query, key = c.heads * c.head_width, c.kv_heads * c.head_width
        self.attn_norm, self.ffn_norm = nn.Parameter(torch.ones(c.width)), nn.Parameter(torch.ones(c.width))
        self.attn_q_norm = nn.Parameter(torch.ones(c.head_width))
        self.attn_k_norm = nn.Parameter(torch.ones(c.head_width))
        self.attn_q, self.attn_k = nn.Linear(c.width, query, bias=False), nn.Linear(c.width, key, bias=False)
        self.attn_v, self.attn_output = nn.Linear(c.width, key, bias=False), nn.Linear(query, c.width, bias=False)
        self.ffn_gate, self.ffn_up = nn.Linear(c.width, c.hidden, bias=False), nn.Linear(c.width, c.hidden, bias=False)
        self.ffn_down = nn.Linear(c.hidden, c.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attention) -> Tensor:
        c, (batch, length, _) = self.c, x.shape
        h = rms_norm(x, self.attn_norm, c.epsilon)

        def split(y: Tensor, heads: int) -> Tensor:
            return y.view(batch, length, heads, c.head_width).transpose(1, 2)

        v = split(self.attn_v(h), c.kv_heads)
        q = rotate(rms_norm(split(self.attn_q(h), c.heads), self.attn_q_norm, c.epsilon), cos, sin).to(v.dtype)
        k = rotate(rms_norm(split(self.attn_k(h), c.kv_heads), self.attn_k_norm, c.epsilon), cos, sin).to(v.dtype)
        x = x + self.attn_output(attend(q, k, v).transpose(1, 2).reshape(batch, length, -1))
        h = rms_norm(x, self.ffn_norm, c.epsilon)
        return x + self.ffn_down(functional.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Spark(nn.Module):
    """The language model; the output layer is the embedding."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.token_embd = nn.Embedding(c.vocabulary, c.width)
        self.blk = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.output_norm = nn.Parameter(torch.full((c.width,), 0.06))
        # Embeddings of standard deviation 1 keep a token's identity audible beside the layers' outputs, which copying
        # needs; the small final norm keeps the tied logits near 1.
        nn.init.normal_(self.token_embd.weight, std=1.0)
        for name, p in self.blk.named_parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=p.shape[1] ** -0.5 * (0.3 if "output" in name or "down" in name else 1.0))
        half = c.head_width // 2
        self.register_buffer("frequencies", c.rope_base ** (-torch.arange(half) / half), persistent=False)

    def forward(self, ids: Tensor, positions: Tensor, attend: Attention) -> Tensor:
        """Logits [B, T, vocabulary] for token ids [B, T] at positions [B, T]."""
        angles = (positions[..., None].float() * self.frequencies)[:, None]
        cos, sin = angles.cos(), angles.sin()
        x = self.token_embd(ids)
        for block in self.blk:
            x = block(x, cos, sin, attend)
        return functional.linear(rms_norm(x, self.output_norm, self.c.epsilon), self.token_embd.weight)


def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention over everything before, for one conversation per row."""
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


@torch.no_grad()
def greedy(model: Spark, prompt: list[int], stop: set[int], limit: int) -> list[int]:
    """The likeliest continuation, token by token (no cache: for tests and short texts)."""
    ids = list(prompt)
    while len(ids) - len(prompt) < limit:
        x = torch.tensor([ids])
        token = int(model(x, torch.arange(len(ids))[None], causal)[0, -1].argmax())
        if token in stop:
            break
        ids.append(token)
    return ids[len(prompt) :]
