"""Schedules: settings as functions of t in [0, 1], the share of the training that is over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Ramp:
    """A rise or fall from `start` at t = 0 to `end` at t = `until`, then constant.

    Args:
      start: the value at t = 0.
      end: the value from t = `until` on.
      shape: "linear" or "cosine" (slow at both ends).
      until: share of the epochs, in (0, 1].

    Raises:
      ValueError: there is no such shape, or `until` is out of range.
    """

    start: float
    end: float
    shape: Literal["linear", "cosine"] = "linear"
    until: float = 1.0

    def __post_init__(self) -> None:
        if self.shape not in ("linear", "cosine"):
            raise ValueError(f"a ramp is linear or cosine, got {self.shape!r}")
        if not 0 < self.until <= 1:
            raise ValueError(f"a ramp ends at a share of the epochs in (0, 1], got {self.until}")

    def __call__(self, t: float) -> float:
        t = min(1.0, t / self.until)
        if self.shape == "cosine":
            t = (1 - math.cos(math.pi * t)) / 2
        return self.start * (1 - t) + self.end * t


@dataclass(frozen=True)
class Piecewise:
    """A piecewise constant schedule: `values[i]` from t = `starts[i]` on.

    Raises:
      ValueError: the starts do not begin at 0 or do not increase, or there is not one for each
        value.
    """

    starts: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.starts or len(self.starts) != len(self.values):
            raise ValueError("each value of a piecewise schedule needs one start")
        if self.starts[0] != 0 or list(self.starts) != sorted(self.starts):
            raise ValueError(f"starts go up from 0, got {self.starts}")

    def __call__(self, t: float) -> float:
        return [v for s, v in zip(self.starts, self.values, strict=True) if s <= t][-1]


@dataclass(frozen=True)
class OneCycle:
    """Linear from 0 to 1 at t = `peak`, then back to 0 (Smith and Topin 2017): a learning rate.

    Raises:
      ValueError: `peak` is not in (0, 1).
    """

    peak: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.peak < 1:
            raise ValueError(f"the peak lies inside (0, 1), got {self.peak}")

    def __call__(self, t: float) -> float:
        return t / self.peak if t < self.peak else (1 - t) / (1 - self.peak)


Schedule = float | Ramp | Piecewise | OneCycle


def value_at(schedule: Schedule, t: float) -> float:
    """Return the value of a schedule at t in [0, 1]."""
    return float(schedule) if isinstance(schedule, int | float) else schedule(t)
