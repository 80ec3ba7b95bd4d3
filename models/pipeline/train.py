"""Trains one model from scratch.

    python -m models.pipeline.train spark --out models/pipeline/runs/spark.pt --steps 6000 --minutes 9

Writes a checkpoint (weights in float16, the sizes, the dialect) and a log beside it. The learning rate is flat and then
falls linearly to zero at the last step, or at the time limit if that comes first.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .model import Attention, Config, Spark
from .muon import Muon
from .packing import DIALECTS, Dialect, Feed

BLOCK = 128


class DocumentMask:
    """What each token may attend to: its own conversation, up to itself.

    On CUDA a mask is a flex-attention BlockMask, elsewhere a boolean [B, 1, T, T]. It is built outside the compiled
    function (built inside, torch 2.11 gave wrong outputs and gradients), around one buffer: nothing recompiles.
    """

    def __init__(self, batch: int, length: int, device: str) -> None:
        self._starts = torch.zeros(batch, length, dtype=torch.long, device=device)
        self._index = torch.arange(length, device=device)

        def same_conversation(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return (k >= self._starts[b, q]) & (k <= q)

        self._rule = same_conversation

    def __call__(self, starts: Tensor) -> Any:
        """The mask of a batch; `starts` [B, T] is the index where each token's conversation starts."""
        index = self._index
        if not starts.is_cuda:
            return ((index[None, None] >= starts[:, :, None]) & (index[None, None] <= index[None, :, None]))[:, None]
        from torch.nn.attention.flex_attention import BlockMask

        self._starts.copy_(starts)
        blocks = len(index) // BLOCK
        block = index[:blocks].to(torch.int32)
        first = (starts[:, ::BLOCK] // BLOCK).to(torch.int32)
        indices = (first[:, :, None] + block).clamp(max=blocks - 1)
        return BlockMask.from_kv_blocks(
            (block + 1 - first)[:, None].contiguous(),
            indices[:, None].contiguous(),
            BLOCK_SIZE=BLOCK,
            mask_mod=self._rule,
        )


def masked(mask: Any) -> Attention:
    """Attention under a mask of `DocumentMask`."""
    if isinstance(mask, Tensor):
        return lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    from torch.nn.attention.flex_attention import flex_attention

    return lambda q, k, v: flex_attention(q, k, v, block_mask=mask, enable_gqa=True)


def losses(model: Spark, batch: Tensor, mask: Any) -> tuple[Tensor, Tensor]:
    """The weighted loss of a batch [5, B, T], and the loss over the model's own words alone."""
    ids, targets, weights, positions, _ = batch.unbind()
    with torch.autocast(batch.device.type, torch.bfloat16):
        logits = model(ids, positions, masked(mask))
    each = functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
    w = weights.flatten().float() / 100
    own = (weights.flatten() == 100).float()
    return (each * w).sum() / w.sum(), ((each * own).sum() / own.sum()).detach()


class Optimizer:
    """Muon for the matrices; AdamW for the embedding and the norms, each with its own rate."""

    def __init__(self, model: Spark, rate: float) -> None:
        matrices = [p for p in model.blk.parameters() if p.ndim == 2]
        norms = [p for p in model.blk.parameters() if p.ndim == 1]
        self._muon = Muon(matrices, rate)
        self._adam = torch.optim.AdamW(
            [
                {"params": [model.token_embd.weight], "base": rate / 2, "eps": 3e-5},
                {"params": [model.output_norm], "base": rate / 13},
                {"params": norms, "base": rate / 4},
            ],
            lr=rate,
            betas=(0.9, 0.95),
            weight_decay=0.0,
            fused=model.output_norm.is_cuda,
        )
        self._model = model

    def step(self, scale: float) -> None:
        for group in self._adam.param_groups:
            group["lr"] = group["base"] * scale
        self._muon.step(scale)
        self._adam.step()
        self._model.zero_grad(set_to_none=True)


def schedule(progress: float, step: int, warmup: int = 60) -> float:
    """The fraction of the learning rate: warm-up, flat until 40 %, then linear to zero."""
    return min(1.0, (step + 1) / warmup) * min(1.0, max(0.0, (1 - progress) / 0.6))


def save(path: Path, model: Spark, dialect: Dialect) -> None:
    weights = {name: p.detach().half().cpu() for name, p in model.state_dict().items()}
    torch.save({"config": model.c.as_dict(), "dialect": dialect.name, "weights": weights}, path)


def load(path: Path) -> tuple[Spark, Dialect]:
    """The model of a checkpoint in float32, and its dialect."""
    stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    model = Spark(Config(**stored["config"]))
    model.load_state_dict({k: v.float() for k, v in stored["weights"].items()})
    return model.eval(), DIALECTS[stored["dialect"]]


def train(
    dialect: Dialect,
    out: Path,
    steps: int,
    minutes: float,
    batch_rows: int,
    row_length: int,
    workers: int,
    rate: float,
    seed: int,
    device: str,
    config: Config | None = None,
    resume: Path | None = None,
) -> Spark:
    """Trains and returns the model; the checkpoint at `out` is written at the end."""
    began = time.monotonic()
    feed = Feed(dialect, seed, row_length, workers)
    torch.manual_seed(seed)
    model = (load(resume)[0] if resume else Spark(config or Config())).to(device)
    optimizer, compute, mask = Optimizer(model, rate), losses, DocumentMask(batch_rows, row_length, device)
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
        compute = torch.compile(losses, dynamic=False)
    own = torch.zeros((), device=device)
    mark, marked_step = time.monotonic(), 0
    with out.with_suffix(".log").open("w") as log:
        step, progress = 0, 0.0
        while progress < 1:
            batch = torch.from_numpy(feed.batch(batch_rows))
            batch = batch.pin_memory().to(device, non_blocking=True).long() if device == "cuda" else batch.long()
            loss, own_loss = compute(model, batch, mask(batch[4]))
            loss.backward()
            optimizer.step(schedule(progress, step))
            own = own_loss if step == 0 else own.lerp(own_loss, 0.02)
            step += 1
            progress = max(step / steps, (time.monotonic() - began) / (60 * minutes))
            if step in (1, 10, 50) or step % 200 == 0 or progress >= 1:
                now = time.monotonic()
                line = {
                    "step": step,
                    "minutes": round((now - began) / 60, 2),
                    "loss": round(float(own), 4),
                    "tokens": step * batch_rows * row_length,
                    "tokens_per_second": round((step - marked_step) * batch_rows * row_length / (now - mark)),
                }
                mark, marked_step = now, step
                print(json.dumps(line), flush=True)
                log.write(json.dumps(line) + "\n")
    feed.close()
    save(out, model, dialect)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dialect", choices=DIALECTS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--rows", type=int, default=4, help="rows in a batch")
    parser.add_argument("--row-length", type=int, default=16384, help="tokens in a row; 2048 suits a CPU")
    parser.add_argument("--workers", type=int, default=7, help="processes that generate data")
    parser.add_argument("--rate", type=float, default=4e-3, help="Muon's learning rate; the others follow")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resume", type=Path, help="start from the weights of this checkpoint")
    a = parser.parse_args()
    a.out.parent.mkdir(parents=True, exist_ok=True)
    train(
        DIALECTS[a.dialect],
        a.out,
        a.steps,
        a.minutes,
        a.rows,
        a.row_length,
        a.workers,
        a.rate,
        a.seed,
        a.device,
        resume=a.resume,
    )


if __name__ == "__main__":
    main()
