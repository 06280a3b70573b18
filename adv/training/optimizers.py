"""Optimizers as values: settings that, called with a net, make torch's optimizer.

Every weight decays except those that a module lists in its class attribute `undecayed`: what a
layer learns about its own noise, for example, must not shrink.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adv.runtime.devices import device_of
from adv.training import eager_optimizers
from adv.training.schedules import Schedule, value_at


@dataclass(frozen=True)
class AdamW:
    """AdamW (Loshchilov and Hutter 2019).

    Args:
      lr: the learning rate, which `decay` scales over the training.
      weight_decay: decoupled weight decay, 0 or more; or a schedule of it over t in [0, 1].
      decay: a factor, or a schedule of factors over t in [0, 1].
    """

    lr: float = 1e-3
    weight_decay: Schedule = 1e-2
    decay: Schedule = 1.0

    def __call__(self, net: nn.Module) -> torch.optim.Optimizer:
        return eager_optimizers.AdamW(
            parameter_groups(net),
            lr=self.lr,
            weight_decay=value_at(self.weight_decay, 0.0),
            fused=_can_fuse(net),
        )


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with Nesterov momentum.

    Args:
      lr: the learning rate, which `decay` scales over the training.
      weight_decay: L2 penalty, 0 or more; or a schedule of it over t in [0, 1].
      momentum: in [0, 1); 0 for plain SGD.
      decay: a factor, or a schedule of factors over t in [0, 1].
    """

    lr: float = 0.1
    weight_decay: Schedule = 5e-4
    momentum: float = 0.9
    decay: Schedule = 1.0

    def __call__(self, net: nn.Module) -> torch.optim.Optimizer:
        return eager_optimizers.SGD(
            parameter_groups(net),
            lr=self.lr,
            weight_decay=value_at(self.weight_decay, 0.0),
            momentum=self.momentum,
            nesterov=self.momentum > 0,
            fused=_can_fuse(net),
        )


def _can_fuse(net: nn.Module) -> bool | None:
    """Return True, for one kernel over all weights, on CUDA; else None, so that torch chooses."""
    return device_of(net).type == "cuda" or None


def parameter_groups(net: nn.Module) -> list[dict[str, Any]]:
    """Return the parameter groups of a net for an optimizer: decayed and undecayed weights.

    Weights that are not trained are left out.
    """
    exempt = find_undecayed(net)
    trained = [weight for weight in net.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in trained if id(weight) not in exempt]}
    ]
    if exempt:
        rest = [weight for weight in trained if id(weight) in exempt]
        groups.append({"params": rest, "weight_decay": 0.0})
    return groups


def find_undecayed(net: nn.Module) -> set[int]:
    """Return the ids of the parameters that modules list in `undecayed`."""
    return {
        id(module.get_parameter(name))
        for module in net.modules()
        for name in getattr(module, "undecayed", ())
    }
