"""Points of a space in the unit cube, and as vectors that a kernel can compare.

A place is a row of [0, 1): a coordinate for each knob, as `search.samplers.initial_design.point_at` takes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spaces import Choice, Float, Int, Knob, Params, Space, Value

Array = NDArray[np.float64]


def place(space: Space, point: Params) -> list[float]:
    """Where in the unit cube a point lies; the middle for the knobs that it does not have."""
    return [_at(knob, point[name]) if name in point else 0.5 for name, knob in space.knobs.items()]


def _at(knob: Knob, value: Value) -> float:
    """The middle of all positions at which `knob.at` gives `value`."""
    if isinstance(knob, Choice):
        return (knob.options.index(value) + 0.5) / len(knob.options)
    low, high, v = float(knob.low), float(knob.high), float(value)
    if isinstance(knob, Float):
        bounds = (low, high, v)
    elif knob.log:
        bounds = (low, high + 1, math.sqrt(v * (v + 1)))
    else:
        bounds = (low, high + 1, v + 0.5)
    low, high, v = (math.log(b) for b in bounds) if knob.log else bounds
    return min(1 - 1e-12, max(0.0, (v - low) / (high - low)))


def columns(space: Space) -> list[int]:
    """The knob's index for each column of `encode`: a choice has a column for each option."""
    return [
        i
        for i, knob in enumerate(space.knobs.values())
        for _ in range(len(knob.options) if isinstance(knob, Choice) else 1)
    ]


def encode(space: Space, places: Array) -> Array:
    """[n, knobs] places as [n, columns] vectors.

    Numbers by position, whole ones in the middle of their step, choices one-hot with different
    options 1 apart. A knob that does not exist there counts as the middle of its range.
    """
    rows = np.asarray(places, dtype=float).reshape(-1, len(space.knobs))
    there = existing(space, rows)
    parts = []
    for i, knob in enumerate(space.knobs.values()):
        u = rows[:, i]
        if isinstance(knob, Choice):
            hot = _option(knob, u)[:, None] == np.arange(len(knob.options))[None, :]
            parts.append(math.sqrt(0.5) * hot * there[:, i, None])
        else:
            u = u if isinstance(knob, Float) else _middle(knob, u)
            parts.append(np.where(there[:, i], u, 0.5)[:, None])
    return np.concatenate(parts, axis=1)


def existing(space: Space, places: Array) -> NDArray[np.bool_]:
    """[n, knobs]: whether the knob exists at the place."""
    names = list(space.knobs)
    there = np.ones((len(places), len(names)), dtype=bool)
    for i, knob in enumerate(space.knobs.values()):
        for name, wanted in knob.when.items():
            j, other = names.index(name), space.knobs[name]
            values = wanted if isinstance(wanted, tuple) else (wanted,)
            if isinstance(other, Choice):
                right = np.isin(_option(other, places[:, j]), [*map(other.options.index, values)])
            else:
                right = np.array([other.at(float(u)) in values for u in places[:, j]], dtype=bool)
            there[:, i] &= right & there[:, j]
    return there


def _option(knob: Choice, u: Array) -> NDArray[np.intp]:
    return np.minimum((u * len(knob.options)).astype(np.intp), len(knob.options) - 1)


def _middle(knob: Int, u: Array) -> Array:
    """The middle of all positions that give the same whole number."""
    if not knob.log:
        many = knob.high - knob.low + 1
        return np.asarray((np.minimum(np.floor(many * u), many - 1) + 0.5) / many)
    low, high = math.log(knob.low), math.log(knob.high + 1)
    value = np.minimum(np.floor(np.exp(low + (high - low) * u)), knob.high)
    return np.asarray((0.5 * np.log(value * (value + 1)) - low) / (high - low))


def vectors(space: Space, points: Sequence[Params]) -> Array:
    """Points as the vectors of `encode`."""
    return encode(space, np.array([place(space, p) for p in points]).reshape(len(points), -1))
