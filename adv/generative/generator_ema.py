"""The moving average of a generator (Yazici et al. 2019), and BatchNorm statistics of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from adv.generative.networks import Generator
from adv.training.weight_averaging import _norms

_BATCHES = 64


@torch.no_grad()
def update_ema(mean: nn.Module, net: nn.Module, decay: float) -> None:
    """Weights: mean <- decay mean + (1 - decay) net; buffers are copied. Decay 0 is a copy."""
    mine: list[Tensor] = list(mean.parameters())
    torch._foreach_lerp_(mine, list[Tensor](net.parameters()), 1 - decay)
    for buffer, other in zip(mean.buffers(), net.buffers(), strict=True):
        buffer.copy_(other)


@torch.no_grad()
def recalibrate_bn(generator: Generator, draw: Callable[[], tuple[Tensor, Tensor]]) -> Generator:
    """Estimate the BatchNorm statistics anew for the weights as they are; returns the generator.

    Buffers that were copied belong to other weights ("standing statistics", Brock et al. 2019).
    They become the plain mean over 64 batches in training mode. Batches before these find the
    directions of the spectral norms, on which all statistics depend.

    Args:
      generator: changed in place; comes out in evaluation mode.
      draw: gives z [n, latent] and labels [n] on its device.
    """
    generator.train()
    for _ in range(_BATCHES // 4):
        generator(*draw())
    norms = _norms(generator)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
    for _ in range(_BATCHES):
        generator(*draw())
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    generator.eval()
    return generator
