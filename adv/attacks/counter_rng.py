"""Random numbers that belong to an image: a hash of its seed and of a counter.

What an image draws does not depend on which others share its batch or have left it, nor on the
device. The hash is SplitMix64 (Steele, Lea and Flood 2014), in 64-bit integers that wrap around.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def seeds(n: int, generator: torch.Generator) -> Tensor:
    """[n] int64 on the CPU, one for each image."""
    return torch.randint(-(2**63), 2**63 - 1, (n,), generator=generator)


def uniform(seed: Tensor, counter: Tensor, count: int) -> Tensor:
    """[n, count] float32 in [0, 1) for seeds and counters [n]."""
    return _fraction(_bits(seed, counter, count), 40)


def normal(seed: Tensor, counter: Tensor, count: int) -> Tensor:
    """[n, count] float32 from N(0, 1), two of each hash (Box and Muller 1958)."""
    bits = _bits(seed, counter, (count + 1) // 2)
    length = (1 - _fraction(bits, 40)).log_().mul_(-2).sqrt_()
    angle = _fraction(bits, 8).mul_(2 * math.pi)
    return torch.cat([length * angle.cos(), length * angle.sin_()], 1)[:, :count]


def _bits(seed: Tensor, counter: Tensor, count: int) -> Tensor:
    """[n, count] int64, all 64 bits random."""
    key = _mixed(seed + _GOLDEN * (counter + 1))
    return _mixed(key[:, None] + _GOLDEN * torch.arange(1, count + 1, device=seed.device))


def _mixed(z: Tensor) -> Tensor:
    z = (z ^ _right(z, 30)) * _FIRST
    z = (z ^ _right(z, 27)) * _SECOND
    return z ^ _right(z, 31)


def _right(z: Tensor, by: int) -> Tensor:
    """A shift that fills with zeros; torch's own repeats the sign."""
    return (z >> by) & (2 ** (64 - by) - 1)


def _fraction(bits: Tensor, lowest: int) -> Tensor:
    """24 of the bits, from `lowest` on, as float32 in [0, 1)."""
    return ((bits >> lowest) & (2**24 - 1)).float().mul_(2.0**-24)
