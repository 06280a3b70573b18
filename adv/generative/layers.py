"""The layers of BigGAN (Brock et al. 2019, appendix B): conditional norm, residual blocks."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

_EPS = 1e-12


def with_spectral_norm(layer: nn.Module) -> nn.Module:
    """The layer, its weight divided by the norm of the weight as a matrix (Miyato et al. 2018).

    One power iteration in each training pass; evaluation takes the norm as it is.
    """
    return spectral_norm(layer, n_power_iterations=1, eps=_EPS)


def raw_weight(layer: nn.Module) -> Tensor:
    """The weight that is learnt: of a normed layer before the division."""
    held = getattr(layer, "parametrizations", None)
    weight: Any = layer.weight if held is None else held.weight.original
    return cast(Tensor, weight)


def conv(ins: int, outs: int, size: int = 3) -> nn.Module:
    """A normed convolution that keeps the image's size."""
    return with_spectral_norm(nn.Conv2d(ins, outs, size, padding=size // 2))


class ConditionalNorm(nn.Module):
    """BatchNorm with a gain and a shift for each class (Dumoulin et al. 2017).

    (x - mean) / std * (1 + gain[y]) + shift[y]. The tables are not spectrally normed: that
    "seems to randomly cripple" a generator (ajbrock/BigGAN-PyTorch).
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Embedding(classes, channels)
        self.shift = nn.Embedding(classes, channels)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        gain, shift = 1 + self.gain(y), self.shift(y)
        return torch.addcmul(shift[..., None, None], self.norm(x), gain[..., None, None])


class UpBlock(nn.Module):
    """A residual block that doubles the side."""

    def __init__(self, ins: int, outs: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = ConditionalNorm(ins, classes), ConditionalNorm(outs, classes)
        self.a, self.b = conv(ins, outs), conv(outs, outs)
        self.past = conv(ins, outs, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.a(_doubled(F.relu(self.first(x, y))))
        h = self.b(F.relu(self.second(h, y)))
        return h + _doubled(self.past(x))  # 1x1 before the doubling: the same at a quarter the cost


class DownBlock(nn.Module):
    """A residual block of the discriminator; with `half` it halves the side.

    The `first` one takes pixels, which meet no ReLU before the convolution.
    """

    def __init__(self, ins: int, outs: int, *, half: bool, first: bool = False) -> None:
        super().__init__()
        self.halved, self.starts = half, first
        self.a, self.b = conv(ins, outs), conv(outs, outs)
        self.past = conv(ins, outs, 1) if half or ins != outs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.b(F.relu(self.a(x if self.starts else F.relu(x))))
        if not self.halved:
            return h + self.past(x)
        return F.avg_pool2d(h, 2) + self.past(F.avg_pool2d(x, 2))


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
