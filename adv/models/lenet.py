"""LeNets: two 5x5 convolutions with pooling, and three linear layers (LeCun et al. 1998).

BaseNet is the small net of PyTorch's CIFAR-10 tutorial; BigNet roughly doubles each dimension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from adv.models.net import (
    Net,
    Normalize,
    activation,
    check_count,
    check_parameters,
    check_settings,
    check_side,
)
from adv.runtime.random_layers import Dropout
from adv.shape import DEFAULT_SHAPE, Shape

_LEAST_SIDE = 16  # pixels, of which a 5x5 convolution and a pooling, twice, leave one


@dataclass(frozen=True)
class BaseNet(Net):
    """The small LeNet, of 62,006 parameters with ten classes.

    Args:
      activation: "relu", "gelu" or "silu".
      dropout: probability after each hidden linear layer, in [0, 1).

    Raises:
      ValueError: a setting is unknown or out of its range.
    """

    activation: str = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_settings(self.activation, self.dropout)

    def __call__(self, classes: int, shape: Shape = DEFAULT_SHAPE) -> nn.Module:
        check_side(self, shape, _LEAST_SIDE)
        return _lenet((6, 16, 120, 84), classes, shape, self.activation, self.dropout)


@dataclass(frozen=True)
class BigNet(Net):
    """The large LeNet, of 244,962 parameters with ten classes at width 1.

    Args:
      width: factor on every hidden dimension, 1 or more.
      activation: "relu", "gelu" or "silu".
      dropout: probability after each hidden linear layer, in [0, 1).

    Raises:
      ValueError: a setting is unknown or out of its range.
    """

    width: int = 1
    activation: str = "gelu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_settings(self.activation, self.dropout)
        check_count("width", self.width)
        check_parameters(self, 241_000 * self.width**2)

    def __call__(self, classes: int, shape: Shape = DEFAULT_SHAPE) -> nn.Module:
        check_side(self, shape, _LEAST_SIDE)
        sizes = [self.width * size for size in (12, 32, 240, 168)]
        inputs = sizes[1] * math.prod(map(_pooled, shape[1:]))
        if shape != DEFAULT_SHAPE:  # for which it was checked when the settings were made
            check_parameters(self, inputs * sizes[2])
        return _lenet(sizes, classes, shape, self.activation, self.dropout)


def _pooled(side: int) -> int:
    """Return the side of the feature maps after both convolutions and both poolings."""
    return ((side - 4) // 2 - 4) // 2


def _lenet(sizes: Sequence[int], classes: int, shape: Shape, act: str, dropout: float) -> nn.Module:
    first, second, wide, narrow = sizes
    inputs = second * math.prod(map(_pooled, shape[1:]))
    return nn.Sequential(
        Normalize(shape[0]),
        *(nn.Conv2d(shape[0], first, 5), activation(act), nn.MaxPool2d(2)),
        *(nn.Conv2d(first, second, 5), activation(act), nn.MaxPool2d(2)),
        nn.Flatten(),
        *(nn.Linear(inputs, wide), activation(act), Dropout(dropout)),
        *(nn.Linear(wide, narrow), activation(act), Dropout(dropout)),
        nn.Linear(narrow, classes),
    )
