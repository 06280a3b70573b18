"""Counter-based random numbers: a hash of an image's seed and a counter.

The numbers of an image depend neither on the other images in its batch nor on the device. The
hash is SplitMix64 (Steele, Lea and Flood 2014), in 64-bit integers that wrap around.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adv.runtime.splitmix64 import GOLDEN, splitmix64


def draw_seeds(n: int, generator: torch.Generator) -> Tensor:
    """Return [n] int64 seeds on the CPU, one for each image."""
    return torch.randint(-(2**63), 2**63 - 1, (n,), generator=generator)


def uniform(seed: Tensor, counter: Tensor, count: int) -> Tensor:
    """Return [n, count] float32 uniform in [0, 1) for seeds and counters [n]."""
    return _fraction(_bits(seed, counter, count), 40)


def normal(seed: Tensor, counter: Tensor, count: int) -> Tensor:
    """Return [n, count] float32 from N(0, 1), two from each hash (Box and Muller 1958)."""
    bits = _bits(seed, counter, (count + 1) // 2)
    length = (1 - _fraction(bits, 40)).log_().mul_(-2).sqrt_()
    angle = _fraction(bits, 8).mul_(2 * math.pi)
    return torch.cat([length * angle.cos(), length * angle.sin_()], 1)[:, :count]


def _bits(seed: Tensor, counter: Tensor, count: int) -> Tensor:
    """Return [n, count] int64, all 64 bits random."""
    key = splitmix64(seed + GOLDEN * (counter + 1))
    return splitmix64(key[:, None] + GOLDEN * torch.arange(1, count + 1, device=seed.device))


def _fraction(bits: Tensor, lowest: int) -> Tensor:
    """Return 24 of the bits, from bit `lowest` on, as float32 in [0, 1)."""
    return ((bits >> lowest) & (2**24 - 1)).float().mul_(2.0**-24)
