"""The moving average of a generator (Yazici et al. 2019), and its own BatchNorm statistics."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from adv.generative.networks import Generator
from adv.training.weight_averaging import batch_norms

_BATCHES = 64


@torch.no_grad()
def update_ema(mean: nn.Module, net: nn.Module, decay: float) -> None:
    """Update weights, mean <- decay mean + (1 - decay) net, and copy buffers. Decay 0 is a copy."""
    averages: list[Tensor] = list(mean.parameters())
    torch._foreach_lerp_(averages, list[Tensor](net.parameters()), 1 - decay)
    for buffer, other in zip(mean.buffers(), net.buffers(), strict=True):
        buffer.copy_(other)


@torch.no_grad()
def recalibrate_bn(generator: Generator, draw: Callable[[], tuple[Tensor, Tensor]]) -> Generator:
    """Estimate the BatchNorm statistics for the present weights, and return the generator.

    Copied buffers belong to other weights ("standing statistics", Brock et al. 2019). They become
    the plain mean over 64 batches in training mode. Batches before these let the power iterations
    of the spectral norms converge, on which all statistics depend.

    Args:
      generator: changed in place; ends in evaluation mode.
      draw: returns z [n, latent] and labels [n] on the generator's device.
    """
    generator.train()
    for _ in range(_BATCHES // 4):
        generator(*draw())
    norms = batch_norms(generator)
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
