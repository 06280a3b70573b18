"""Schedules of an attack's step size: constant, or cosine cycles."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["constant", "cosine"]


def cosine_cycles(age: Tensor, steps: int) -> Tensor:
    """Return the share of the full length, [n] in (0, 1], of the next step of each image.

    It falls twice as half a cosine from 1 towards 0: once in the first half of the steps, again in
    the second (arXiv 2411.15210). The full length is usually 2 eps.

    Args:
      age: [n] steps taken.
      steps: steps of the attack, 1 or more.
    """
    first = half_of(steps)
    second = age >= first
    at = torch.where(second, age - first, age)
    length = torch.where(second, max(1, steps - first), first)
    return (1 + (math.pi * at / length).cos()) / 2


def half_of(steps: int) -> int:
    """Return the number of steps of the first cycle: half of them, rounded up."""
    return (steps + 1) // 2
