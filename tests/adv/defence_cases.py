"""What the tests of defences share: a row for each, and nets to defend."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

import adv
from adv import WRN, BigNet, Recipe, ViT, build
from adv.runtime.random_streams import use_seed


class Foreign(nn.Module):
    """A plain torch module: attributes, BatchNorm, torch's own dropout, no normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.block = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)))
        self.drop = nn.Dropout(0.0)
        self.out = nn.Linear(6, 10)

    def forward(self, x):
        return self.out(self.drop(self.block(self.stem(x)).mean((2, 3))))


NETS: dict[str, Any] = {  # a Recipe takes any function of the number of classes
    "BigNet": BigNet(),
    "WRN": WRN(10, 1, se=0.25),
    "ViT": ViT(1, 64, convolutions=3),
    "Foreign": lambda classes: Foreign(),
}


def images(n: int = 2) -> torch.Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(n))


def build_defended(net: str, *defences: adv.Defence, seed: int = 0) -> nn.Module:
    return build(Recipe(net=NETS[net], defences=defences), 10, seed).eval()


def outputs_with_seed(net: nn.Module, seed: int = 1, x: torch.Tensor | None = None) -> torch.Tensor:
    """Return the outputs of the net when its random stream has that seed."""
    twin = copy.deepcopy(net) if net.training else net
    with torch.no_grad(), use_seed(twin, seed):
        return twin(images() if x is None else x)
