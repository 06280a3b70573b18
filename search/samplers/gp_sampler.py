"""Propose where the hypervolume of the believed front is expected to grow most."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.record.trial_result import TrialResult
from search.record.view import View
from search.samplers.initial_design import point_at
from search.surrogates.cost_model import COST_EXPONENT, fitted
from search.surrogates.encoding import place
from search.surrogates.expected_hypervolume import expected_gain
from search.surrogates.surrogate import FEWEST, Belief
from spaces import Choice, Params, Space

DRAWN, NEAR, ROUNDS, STEP = 512, 256, 3, 0.1
LEAST, ENOUGH = 0.2, 0.6  # skill below which a model chooses nothing, above which it may all
KEPT = 32  # of the candidates, weighed by their cost
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Kriging:
    """Expected gain of hypervolume over the front of posterior means, for its predicted cost.

    The front is that of what is believed, not of what was measured, so that a lucky seed neither
    hides a region nor draws the search to it.
    """

    space: Space
    before: Sequence[tuple[Params, TrialResult]] = ()

    def draw(self, view: View, chance: random.Random) -> Params | None:
        """The best of many random places and of neighbours of the front, refined in rounds.

        None, the more often the less the processes have proved that they can tell.
        """
        if len(view.in_state("finished")) + len(self.before) < FEWEST:
            return None
        belief = Belief(self.space, view, self.before)
        if chance.random() >= trust(belief.skill):
            return None
        places, gains = promising(belief, chance.getrandbits(63))
        points = [point_at(self.space, row.tolist()) for row in places]
        cost = fitted(self.space, list(view.trials.values()))
        if cost:
            gains = gains / np.array([cost.seconds(p) for p in points]) ** COST_EXPONENT
        return points[int(np.argmax(gains))]


def trust(skill: float) -> float:
    """The share of points that a model of that skill may choose, in [0, 1]."""
    return min(1.0, max(0.0, (skill - LEAST) / (ENOUGH - LEAST)))


def promising(belief: Belief, seed: int) -> tuple[Array, Array]:
    """Places in the unit cube [n, knobs] with the largest expected gains that were found, [n]."""
    rng = np.random.default_rng(seed)
    space, corner = belief.space, belief.corner

    def worth(places: Array) -> Array:
        gain = expected_gain(*belief.predict(places), belief.found, corner)
        return gain * belief.chance(places)

    parents = np.array([place(space, p) for p in belief.best])
    places = np.concatenate(
        [rng.random((DRAWN, len(space.knobs))), _near(space, parents, rng, NEAR, STEP)]
    )
    for step in range(1, ROUNDS + 1):
        gains = worth(places)
        some = places[np.argsort(-gains)[:5]]
        places = np.concatenate([some, _near(space, some, rng, NEAR // 2, STEP / 2**step)])
    gains = worth(places)
    kept = np.argsort(-gains)[:KEPT]
    return places[kept], gains[kept]


def _near(space: Space, places: Array, rng: np.random.Generator, many: int, far: float) -> Array:
    """Neighbours: some numbers moved by a normal step of `far`, now and then another choice."""
    found = places[rng.integers(len(places), size=many)]
    moved = rng.random(found.shape) < min(1.0, 3 / len(space.knobs))
    choice = np.array([isinstance(knob, Choice) for knob in space.knobs.values()])
    steps = np.clip(found + rng.normal(0.0, far, found.shape), 0.0, 1 - 1e-12)
    anew = np.where(rng.random(found.shape) < 0.3, rng.random(found.shape), found)
    return np.where(moved, np.where(choice[None, :], anew, steps), found)
