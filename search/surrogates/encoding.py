"""Configurations as positions in the unit cube, and as vectors that a kernel can compare.

A position has a coordinate in [0, 1) for each hyperparameter, as `spaces.Space.position` gives it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.surrogates.gaussian_process import Columns
from spaces import Choice, Float, Int, Params, Space

Array = NDArray[np.float64]


def columns_of(space: Space) -> Columns:
    """Return the columns of `encode_positions`: one for a number, one for each option."""
    columns = [
        (i, isinstance(knob, Choice))
        for i, knob in enumerate(space.knobs.values())
        for _ in range(len(knob.options) if isinstance(knob, Choice) else 1)
    ]
    return Columns(tuple(i for i, _ in columns), tuple(choice for _, choice in columns))


def encode_positions(space: Space, positions: Array) -> Array:
    """Encode [n, knobs] positions as [n, columns] vectors.

    A number is encoded by its position, an integer by the middle of its step, a choice one-hot and
    scaled so that different options are 1 apart. An inactive hyperparameter counts as the middle of
    its range.
    """
    rows = np.asarray(positions, dtype=float).reshape(-1, len(space.knobs))
    active = active_knobs(space, rows)
    parts = []
    for i, knob in enumerate(space.knobs.values()):
        u = rows[:, i]
        if isinstance(knob, Choice):
            hot = _option(knob, u)[:, None] == np.arange(len(knob.options))[None, :]
            parts.append(math.sqrt(0.5) * hot * active[:, i, None])
        else:
            u = u if isinstance(knob, Float) else _middle(knob, u)
            parts.append(np.where(active[:, i], u, 0.5)[:, None])
    return np.concatenate(parts, axis=1)


def active_knobs(space: Space, positions: Array) -> NDArray[np.bool_]:
    """Return [n, knobs] booleans: True if the hyperparameter is active at the position."""
    names = list(space.knobs)
    active = np.ones((len(positions), len(names)), dtype=bool)
    for i, knob in enumerate(space.knobs.values()):
        for name, wanted in knob.when.items():
            j, other = names.index(name), space.knobs[name]
            values = wanted if isinstance(wanted, tuple) else (wanted,)
            u = positions[:, j]
            if isinstance(other, Choice):
                holds = np.isin(_option(other, u), [*map(other.options.index, values)])
            else:
                holds = np.array([other.at(float(v)) in values for v in u], dtype=bool)
            active[:, i] &= holds & active[:, j]
    return active


def _option(knob: Choice, u: Array) -> NDArray[np.intp]:
    return np.minimum((u * len(knob.options)).astype(np.intp), len(knob.options) - 1)


def _middle(knob: Int, u: Array) -> Array:
    """Return the middle of all positions that give the same whole number."""
    return np.array([knob.position(knob.at(v)) for v in u.tolist()])


def encode_params(space: Space, configurations: Sequence[Params]) -> Array:
    """Encode n configurations as the [n, columns] vectors of `encode_positions`."""
    positions = np.array([space.position(params) for params in configurations])
    return encode_positions(space, positions.reshape(len(configurations), -1))
