"""Muon (Keller Jordan, 2024; RMS-matched as in Moonlight): momentum, orthogonalised by Newton-Schulz steps."""

from collections.abc import Iterable

import torch
from torch import Tensor


def orthogonal(gradient: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly, of a stack [n, rows, columns]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = gradient.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.size(-2) > x.size(-1)
    if tall:
        x = x.mT
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * (s @ s)) @ x
    return (x.mT if tall else x).float()


class Muon:
    """For matrices of hidden layers; those of one shape are updated together."""

    def __init__(self, parameters: Iterable[Tensor], rate: float, momentum: float = 0.95, decay: float = 0.05) -> None:
        self.rate, self.momentum, self.decay = rate, momentum, decay
        shapes: dict[tuple[int, ...], list[Tensor]] = {}
        for p in parameters:
            shapes.setdefault(tuple(p.shape), []).append(p)
        self._groups = list(shapes.values())
        self._buffers = [torch.zeros(len(g), *g[0].shape, device=g[0].device) for g in self._groups]

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One update with the learning rate `rate * scale`."""
        rate = self.rate * scale
        for parameters, buffer in zip(self._groups, self._buffers, strict=True):
            gradients = torch.stack([p.grad for p in parameters if p.grad is not None])
            buffer.lerp_(gradients, 1 - self.momentum)
            update = orthogonal(gradients.lerp(buffer, self.momentum))
            size = rate * 0.2 * max(update.shape[-2:]) ** 0.5
            torch._foreach_mul_(parameters, 1 - rate * self.decay)
            torch._foreach_add_(parameters, list(update.unbind()), alpha=-size)
