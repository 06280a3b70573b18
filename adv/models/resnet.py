"""Residual nets with pre-activation: WRN-d-k and PreAct ResNet-18, of the same blocks.

He et al. 2016 (arXiv:1603.05027) put BatchNorm and the activation before each convolution;
Zagoruyko and Komodakis 2016 (arXiv:1605.07146) made the net wide and put dropout into the block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from adv.models.net import Net, Normalize, activation, check_count, check_parameters, check_settings
from adv.runtime.random_layers import Dropout
from adv.shape import DEFAULT_SHAPE, Shape


@dataclass(frozen=True)
class WRN(Net):
    """A wide residual net of depth 6n + 4 and hidden widths 16k, 32k and 64k.

    The depth counts the stem, 6n 3x3 convolutions and three 1x1 shortcuts. The report's net with
    "13 convolution layers" is WRN-16-10: 13 of 3x3, 17.12 M parameters with ten classes.

    Args:
      depth: 10, 16, 22, 28, 34, ...
      width: the factor k, 1 or more. At k = 1 the first group needs no shortcut convolution.
      activation: "relu", "gelu" or "silu".
      dropout: probability between the two convolutions of a block, in [0, 1).
      se: size of the squeeze-excitation bottleneck relative to the block's width, 0 for none
        (Hu et al. 2018; 0.25 in Peng et al. 2023, arXiv:2308.16258), in [0, 1].

    Raises:
      ValueError: a setting is unknown or out of its range.
    """

    depth: int = 16
    width: int = 10
    activation: str = "relu"
    dropout: float = 0.0
    se: float = 0.0

    def __post_init__(self) -> None:
        check_settings(self.activation, self.dropout)
        check_count("width", self.width)
        check_count("depth", self.depth, low=10)
        if (self.depth - 4) % 6:
            nearest = max(10, 6 * round((self.depth - 4) / 6) + 4)
            raise ValueError(f"depth must be 6n + 4, got {self.depth}: the nearest is {nearest}")
        if not 0 <= self.se <= 1:
            raise ValueError(f"se is a ratio in [0, 1], got {self.se}")
        blocks, squared = (self.depth - 4) // 6, 16**2 + 32**2 + 64**2
        check_parameters(self, 18 * blocks * squared * self.width**2)

    def __call__(self, classes: int, shape: Shape = DEFAULT_SHAPE) -> nn.Module:
        widths = [16, *(self.width * size for size in (16, 32, 64))]
        blocks = (self.depth - 4) // 6
        return _preact(widths, blocks, classes, shape[0], self.activation, self.dropout, self.se)


@dataclass(frozen=True)
class ResNet18(Net):
    """PreAct ResNet-18, the net of the published robust tables: 11.17 M parameters.

    It has four groups of two blocks, of 64, 128, 256 and 512 channels, with BatchNorm and an
    activation after the last, as Rice et al. 2020 trained it.

    Args:
      activation: "relu", "gelu" or "silu".
      dropout: probability between the two convolutions of a block, in [0, 1).

    Raises:
      ValueError: a setting is unknown or out of its range.
    """

    activation: str = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_settings(self.activation, self.dropout)

    def __call__(self, classes: int, shape: Shape = DEFAULT_SHAPE) -> nn.Module:
        widths = (64, 64, 128, 256, 512)
        return _preact(widths, 2, classes, shape[0], self.activation, self.dropout, 0)


def _preact(
    widths: Sequence[int],
    blocks: int,
    classes: int,
    channels: int,
    act: str,
    dropout: float,
    se: float,
) -> nn.Module:
    """Return a stem of `widths[0]` channels and a group for each further width.

    Every group but the first halves the resolution.
    """
    groups = []
    for group, (before, after) in enumerate(pairwise(widths)):
        stride = 1 if group == 0 else 2
        groups += [
            _Block(after if i else before, after, 1 if i else stride, act, dropout, se)
            for i in range(blocks)
        ]
    last = nn.Linear(widths[-1], classes)
    nn.init.zeros_(last.bias)
    net = nn.Sequential(
        Normalize(channels),
        nn.Conv2d(channels, widths[0], 3, padding=1, bias=False),
        *groups,
        *(nn.BatchNorm2d(widths[-1]), activation(act)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        last,
    )
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


class _Block(nn.Module):
    """BN, act, conv, BN, act, dropout, conv; the shortcut starts after the first activation."""

    def __init__(
        self, before: int, after: int, stride: int, act: str, dropout: float, se: float
    ) -> None:
        super().__init__()
        self.start = nn.Sequential(nn.BatchNorm2d(before), activation(act))
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            *(nn.BatchNorm2d(after), activation(act), Dropout(dropout)),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
        )
        if se:
            self.body.append(_SqueezeExcitation(after, se, act))
        same = before == after and stride == 1
        self.shortcut = None if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.start(x)
        return self.body(activated) + (x if self.shortcut is None else self.shortcut(activated))


class _SqueezeExcitation(nn.Module):
    """Scales each channel by a gate that is computed from the means of all channels."""

    def __init__(self, channels: int, ratio: float, act: str) -> None:
        super().__init__()
        hidden = max(1, math.ceil(channels * ratio))
        self.gate = nn.Sequential(
            *(nn.Linear(channels, hidden), activation(act)),
            *(nn.Linear(hidden, channels), nn.Sigmoid()),
        )

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = self.gate(torch.mean(x, (2, 3)))
        return x * scale[:, :, None, None]
