"""The moving average of a net's weights (Izmailov et al. 2018; Gowal et al. 2020, section 4.3)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from adv.defences.input_noise import without_input_noise
from adv.runtime.random_streams import use_seed

WINDOW = 40
"""Number of batches at the end of an epoch that BatchNorm statistics of an average come from."""


class Average:
    """An exponential moving average of a net's weights: a copy of the net, in evaluation mode.

    After update t = 0, 1, ..., w_avg = d w_avg + (1 - d) w with d = min(tau, (1 + t) / (10 + t)),
    so that the untrained net is soon forgotten. Buffers are copied, except for the running
    statistics of BatchNorm. Those of the net belong to other weights, so the average computes its
    own, over the last batches of each epoch, attacked images included, as the net saw them.

    Args:
      net: the net to follow, on its device; not changed.
      tau: the decay, in (0, 1).
      seed: of the noise that random layers draw while BatchNorm statistics are computed.
    """

    def __init__(self, net: nn.Module, tau: float, seed: int) -> None:
        self.net = copy.deepcopy(net).eval()
        self.tau, self.seed = tau, seed
        self.updates = 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move the average towards the weights of `net`, once after each of its updates."""
        decay = min(self.tau, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averaged: list[Tensor] = list(self.net.parameters())
        torch._foreach_lerp_(averaged, list[Tensor](net.parameters()), 1 - decay)
        for buffer, other in zip(_other_buffers(self.net), _other_buffers(net), strict=True):
            buffer.copy_(other)

    @torch.no_grad()
    def update_bn(self, forward: Callable[[nn.Module], object], n: int) -> None:
        """Add one more batch to the BatchNorm statistics.

        Args:
          forward: passes the batch through a net.
          n: which batch of the window this is, from 0.
        """
        norms = batch_norms(self.net)
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.train()
            norm.momentum = max(0.1, 1 / (n + 1))  # a plain mean would keep old weights for long
        seed = self.seed + self.updates
        with use_seed(self.net, seed), without_input_noise(self.net, every=False):
            forward(self.net)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum

    def state(self) -> dict[str, Any]:
        """Return all that is needed to resume; not a copy."""
        return {"net": self.net.state_dict(), "updates": self.updates}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from a `state()`, which is copied."""
        self.net.load_state_dict(state["net"])
        self.updates = state["updates"]


def batch_norms(net: nn.Module) -> list[_NormBase]:
    """Return the layers of a net that keep running statistics."""
    layers = [module for module in net.modules() if isinstance(module, _NormBase)]
    return [layer for layer in layers if layer.running_mean is not None]


def _other_buffers(net: nn.Module) -> list[Tensor]:
    """Return all buffers but those of the layers that keep running statistics."""
    own = {id(buffer) for norm in batch_norms(net) for buffer in norm.buffers()}
    return [buffer for buffer in net.buffers() if id(buffer) not in own]
