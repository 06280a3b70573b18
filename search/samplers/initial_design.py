"""Points of a space that no result has any say in: spread out, or drawn at random."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence

from scipy.stats import qmc

from spaces import Params, Space, Value, exists


def sobol_point(space: Space, index: int, seed: int) -> Params:
    """Point `index` of a scrambled Sobol sequence over the knobs (Owen 1998)."""
    sequence = qmc.Sobol(len(space.knobs), rng=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # balance needs powers of two points
        if index:
            sequence.fast_forward(index)
        return point_at(space, sequence.random(1)[0])


def random_point(space: Space, chance: random.Random) -> Params:
    """A point drawn uniformly, each knob on its own scale."""
    return point_at(space, [chance.random() for _ in space.knobs])


def point_at(space: Space, position: Sequence[float]) -> Params:
    """The point at `position` in the unit cube, a coordinate a knob; inactive knobs fall away."""
    params: dict[str, Value] = {}
    for (name, knob), u in zip(space.knobs.items(), position, strict=True):
        if exists(knob, params):
            params[name] = knob.at(float(u))
    return params
