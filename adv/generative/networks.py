"""A small conditional BigGAN: generator and projection discriminator for images of any size.

Brock et al. 2019 (arXiv:1809.11096), with the widths of the CIFAR-10 script of
ajbrock/BigGAN-PyTorch: all blocks are 4 x `width` wide, there is no attention, and z enters at the
bottom only. Its sizes are 8, 16, 32, ... pixels; for others the first block is larger than 4 x 4,
and what is too much of the image is cut off.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adv.generative.layers import DownBlock, UpBlock, conv, raw_weight, with_spectral_norm
from adv.generative.pixel_range import PixelFormat

BOTTOM = 4  # the shorter side of the first block of a generator, up to a factor of 2
_POWER_ITERATIONS = 15


class Generator(nn.Module):
    """Maps z [n, latent] and labels [n] to images [n, channels, height, width] in [-1, 1]."""

    def __init__(self, pixel_format: PixelFormat, classes: int, width: int, latent: int) -> None:
        super().__init__()
        self.wide, self.latent, self.classes = 4 * width, latent, classes
        self.size = pixel_format.height, pixel_format.width
        doublings = _count_halvings(pixel_format, BOTTOM)
        self.first = tuple(-(-side >> doublings) for side in self.size)
        self.bottom = with_spectral_norm(nn.Linear(latent, self.wide * math.prod(self.first)))
        self.blocks = nn.ModuleList(
            UpBlock(self.wide, self.wide, classes) for _ in range(doublings)
        )
        self.norm = nn.BatchNorm2d(self.wide)
        self.top = conv(self.wide, pixel_format.channels)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        h = self.bottom(z).view(-1, self.wide, *self.first)
        h = h.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            h = block(h, y)
        height, width = self.size
        return torch.tanh(self.top(F.relu(self.norm(h)))[:, :, :height, :width])


class Discriminator(nn.Module):
    """Maps images [n, channels, height, width] and labels [n] to how real they look, [n].

    A projection discriminator (Miyato and Koyama 2018): linear(h) + <table[y], h>, with h the sum
    of the last block over its pixels.
    """

    def __init__(self, pixel_format: PixelFormat, classes: int, width: int) -> None:
        super().__init__()
        wide = 4 * width
        halvings = max(1, _count_halvings(pixel_format, 2 * BOTTOM))
        small = min(pixel_format.height, pixel_format.width) < 4 * BOTTOM
        blocks = [DownBlock(pixel_format.channels, wide, half=True, first=True)]
        blocks += [DownBlock(wide, wide, half=True) for _ in range(halvings - 1)]
        blocks += [DownBlock(wide, wide, half=False) for _ in range(1 if small else 2)]
        self.blocks = nn.Sequential(*blocks)
        self.linear = with_spectral_norm(nn.Linear(wide, 1))
        self.table = with_spectral_norm(nn.Embedding(classes, wide))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = F.relu(self.blocks(x)).sum((2, 3))
        return self.linear(h).squeeze(1) + (self.table(y) * h).sum(1)


def _count_halvings(pixel_format: PixelFormat, least: int) -> int:
    """Return how often the shorter side can be halved without falling below `least` pixels."""
    return max(0, int(math.log2(min(pixel_format.height, pixel_format.width) / least)))


def initialize(net: nn.Module, how: str) -> None:
    """Set the weights of convolutions, linear layers and tables: N(0, .02), or "orthogonal"."""
    for layer in net.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            continue
        weight = raw_weight(layer)
        if how == "orthogonal":
            nn.init.orthogonal_(weight)
        else:
            nn.init.normal_(weight, 0, 0.02)
        if isinstance(bias := getattr(layer, "bias", None), Tensor):
            nn.init.zeros_(bias)
        with torch.no_grad():
            for _ in range(_POWER_ITERATIONS):  # the singular vectors belong to the old weight
                _ = layer.train().weight
