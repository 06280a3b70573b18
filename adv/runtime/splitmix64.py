"""SplitMix64, a hash of 64-bit integers (Steele, Lea and Flood 2014).

Tensors of int64 hold the integers: arithmetic wraps around, as the algorithm wants it.
"""

from __future__ import annotations

from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - 2**64
"""The increment of the state, 2^64 divided by the golden ratio."""

_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def splitmix64(z: Tensor) -> Tensor:
    """Return int64 hashes of int64 values; each bit of a hash depends on all bits of its value."""
    z = (z ^ _shift_right(z, 30)) * _FIRST
    z = (z ^ _shift_right(z, 27)) * _SECOND
    return z ^ _shift_right(z, 31)


def _shift_right(z: Tensor, by: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift repeats the sign."""
    return (z >> by) & (2 ** (64 - by) - 1)
