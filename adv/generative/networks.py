"""A small conditional BigGAN: generator and projection discriminator for 8, 16 or 32 pixels.

Brock et al. 2019 (arXiv:1809.11096), with the widths of the CIFAR-10 script of
ajbrock/BigGAN-PyTorch: all blocks are 4 x `width` wide, there is no attention, and z enters at the
bottom only.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adv.generative.layers import DownBlock, UpBlock, conv, raw_weight, with_spectral_norm
from adv.generative.pixel_range import PixelFormat

BOTTOM = 4  # the side of the first block of a generator
_POWER_ITERATIONS = 15


class Generator(nn.Module):
    """Maps z [n, latent] and labels [n] to images [n, channels, side, side] in [-1, 1]."""

    def __init__(self, pixel_format: PixelFormat, classes: int, width: int, latent: int) -> None:
        super().__init__()
        self.wide, self.latent, self.classes = 4 * width, latent, classes
        self.bottom = with_spectral_norm(nn.Linear(latent, self.wide * BOTTOM**2))
        doublings = int(math.log2(pixel_format.side // BOTTOM))
        self.blocks = nn.ModuleList(
            UpBlock(self.wide, self.wide, classes) for _ in range(doublings)
        )
        self.norm = nn.BatchNorm2d(self.wide)
        self.top = conv(self.wide, pixel_format.channels)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        h = self.bottom(z).view(-1, self.wide, BOTTOM, BOTTOM)
        h = h.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            h = block(h, y)
        return torch.tanh(self.top(F.relu(self.norm(h))))


class Discriminator(nn.Module):
    """Maps images [n, channels, side, side] and labels [n] to how real they look, [n].

    A projection discriminator (Miyato and Koyama 2018): linear(h) + <table[y], h>, with h the sum
    of the last block over its pixels.
    """

    def __init__(self, pixel_format: PixelFormat, classes: int, width: int) -> None:
        super().__init__()
        wide = 4 * width
        halvings = 2 if pixel_format.side == 32 else 1
        blocks = [DownBlock(pixel_format.channels, wide, half=True, first=True)]
        blocks += [DownBlock(wide, wide, half=True) for _ in range(halvings - 1)]
        blocks += [
            DownBlock(wide, wide, half=False) for _ in range(1 if pixel_format.side == 8 else 2)
        ]
        self.blocks = nn.Sequential(*blocks)
        self.linear = with_spectral_norm(nn.Linear(wide, 1))
        self.table = with_spectral_norm(nn.Embedding(classes, wide))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = F.relu(self.blocks(x)).sum((2, 3))
        return self.linear(h).squeeze(1) + (self.table(y) * h).sum(1)


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
