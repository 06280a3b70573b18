"""Averages of a net's weights: a moving one, and one of the latest few snapshots.

Izmailov et al. 2018; Gowal et al. 2020, section 4.3; Sanyal et al. 2023.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from adv.defences.input_noise import without_input_noise
from adv.runtime.devices import device_of
from adv.runtime.random_streams import use_seed
from adv.training.frozen_layers import is_frozen

WINDOW = 40
"""Number of batches at the end of an epoch that BatchNorm statistics of an average come from."""


@dataclass(frozen=True)
class Latest:
    """The plain mean of the weights at the latest few of many points of a training.

    Early weight averaging, or LAWA (Sanyal et al. 2023, arXiv:2306.03241): with a high learning
    rate and points far apart, the mean is better than the net from early on. Before the first point
    it is the net itself. `Recipe(ema=0.9995)` is the moving average instead.

    Args:
      count: number of points, 1 or more; each takes the memory of the weights once.
      every: number of updates between two points, 1 or more.

    Raises:
      ValueError: a setting is below 1.
    """

    count: int = 5
    every: int = 100

    def __post_init__(self) -> None:
        for name in ("count", "every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")


def make_average(net: nn.Module, setting: float | Latest, seed: int) -> Average | None:
    """Return the average that a recipe's `ema` asks for, None if it is 0; see `Average`."""
    if isinstance(setting, Latest):
        return LatestAverage(net, setting, seed)
    return Average(net, setting, seed) if setting else None


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
        self.updates += 1
        self._average(list(net.parameters()))
        for buffer, other in zip(_other_buffers(self.net), _other_buffers(net), strict=True):
            buffer.copy_(other)

    def _average(self, weights: list[Tensor]) -> None:
        """Take the weights of update t = `updates` - 1 into the average."""
        decay = min(self.tau, self.updates / (9 + self.updates))
        averaged: list[Tensor] = list(self.net.parameters())
        torch._foreach_lerp_(averaged, weights, 1 - decay)

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


class LatestAverage(Average):
    """The mean of the latest snapshots of the weights, see `Latest`."""

    def __init__(self, net: nn.Module, latest: Latest, seed: int) -> None:
        super().__init__(net, 0.0, seed)
        self.latest = latest
        self.snapshots: list[list[Tensor]] = []

    def _average(self, weights: list[Tensor]) -> None:
        if self.updates % self.latest.every == 0:
            snapshot = [weight.detach().clone() for weight in weights]
            self.snapshots = [*self.snapshots, snapshot][-self.latest.count :]
            weights = [torch.stack(each).mean(0) for each in zip(*self.snapshots, strict=True)]
        elif self.snapshots:
            return
        for averaged, weight in zip(self.net.parameters(), weights, strict=True):
            averaged.copy_(weight)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "snapshots": self.snapshots}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        device = device_of(self.net)
        self.snapshots = [[w.to(device, copy=True) for w in each] for each in state["snapshots"]]


def batch_norms(net: nn.Module) -> list[_NormBase]:
    """Return the layers of a net that keep running statistics, but for frozen ones."""
    layers = [module for module in net.modules() if isinstance(module, _NormBase)]
    return [layer for layer in layers if layer.running_mean is not None and not is_frozen(layer)]


def _other_buffers(net: nn.Module) -> list[Tensor]:
    """Return all buffers but those of the layers that keep running statistics."""
    own = {id(buffer) for norm in batch_norms(net) for buffer in norm.buffers()}
    return [buffer for buffer in net.buffers() if id(buffer) not in own]
