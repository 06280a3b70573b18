"""Random configurations of a space, for the tests."""

from __future__ import annotations

import random

import spaces
from spaces import Space


def random_configurations(space: Space, n: int = 20) -> list[dict]:
    """Draw n configurations, one hyperparameter after another."""
    draw = random.Random(7)
    made = []
    for _ in range(n):
        params: dict = {}
        for name, knob in space.knobs.items():
            if spaces.exists(knob, params):
                params[name] = knob.at(draw.random())
        made.append(params)
    return made
