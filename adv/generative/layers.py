"""The layers of BigGAN (Brock et al. 2019, appendix B): conditional norm and residual blocks."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

_EPS = 1e-12


def with_spectral_norm(layer: nn.Module) -> nn.Module:
    """Divide a layer's weight by its spectral norm as a matrix (Miyato et al. 2018).

    One power iteration runs in each training pass; evaluation uses the estimate as it is.
    """
    return spectral_norm(layer, n_power_iterations=1, eps=_EPS)


def raw_weight(layer: nn.Module) -> Tensor:
    """Return the weight that is learnt, that is before the division by its spectral norm."""
    parametrized = getattr(layer, "parametrizations", None)
    weight: Any = layer.weight if parametrized is None else parametrized.weight.original
    return cast(Tensor, weight)


def conv(ins: int, outs: int, size: int = 3) -> nn.Module:
    """Return a convolution with spectral norm that keeps the size of the image."""
    return with_spectral_norm(nn.Conv2d(ins, outs, size, padding=size // 2))


class ConditionalNorm(nn.Module):
    """BatchNorm with a gain and a shift for each class (Dumoulin et al. 2017).

    (x - mean) / std * (1 + gain[y]) + shift[y]. The tables have no spectral norm: that "seems to
    randomly cripple" a generator (ajbrock/BigGAN-PyTorch).
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
    """A residual block of the generator that doubles the side."""

    def __init__(self, ins: int, outs: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = ConditionalNorm(ins, classes), ConditionalNorm(outs, classes)
        self.a, self.b = conv(ins, outs), conv(outs, outs)
        self.past = conv(ins, outs, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.a(_upsample(F.relu(self.first(x, y))))
        h = self.b(F.relu(self.second(h, y)))
        # The 1x1 convolution before upsampling: the same result at a quarter of the cost.
        return h + _upsample(self.past(x))


class DownBlock(nn.Module):
    """A residual block of the discriminator; with `half` it halves the side.

    The `first` block takes pixels and applies no ReLU to them.
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


def _upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
