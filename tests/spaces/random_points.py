"""Random points of a space, for the tests."""

from __future__ import annotations

import random

import spaces
from spaces import Space


def points(space: Space, n: int = 20) -> list[dict]:
    """Random points, knob by knob."""
    draw = random.Random(7)
    made = []
    for _ in range(n):
        point: dict = {}
        for name, knob in space.knobs.items():
            if spaces.exists(knob, point):
                point[name] = knob.at(draw.random())
        made.append(point)
    return made
