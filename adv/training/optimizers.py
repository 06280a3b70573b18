"""Optimizers as values; called with a net they make torch's own.

Every weight decays, but for those that a module names in its class attribute `undecayed`: what a
layer learns about its own noise, for example, is no weight that should shrink.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adv.runtime.devices import device_of
from adv.training.schedules import Schedule


@dataclass(frozen=True)
class AdamW:
    """AdamW (Loshchilov and Hutter 2019); `decay` scales `lr` over the training."""

    lr: float = 1e-3
    weight_decay: float = 1e-2
    decay: Schedule = 1.0

    def __call__(self, net: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            grouped(net), lr=self.lr, weight_decay=self.weight_decay, fused=_fused(net)
        )


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with Nesterov momentum; `decay` scales `lr` over the training."""

    lr: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    decay: Schedule = 1.0

    def __call__(self, net: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            grouped(net),
            lr=self.lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            nesterov=self.momentum > 0,
            fused=_fused(net),
        )


def _fused(net: nn.Module) -> bool | None:
    """One kernel for all weights, on CUDA only; elsewhere torch's own choice."""
    return device_of(net).type == "cuda" or None


def grouped(net: nn.Module) -> list[dict[str, Any]]:
    """The weights of a net, and in a group without decay those that its modules call so."""
    spared = undecayed(net)
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in net.parameters() if id(weight) not in spared]}
    ]
    if spared:
        rest = [weight for weight in net.parameters() if id(weight) in spared]
        groups.append({"params": rest, "weight_decay": 0.0})
    return groups


def undecayed(net: nn.Module) -> set[int]:
    """The ids of the parameters that a module's `undecayed` names."""
    return {
        id(module.get_parameter(name))
        for module in net.modules()
        for name in getattr(module, "undecayed", ())
    }
