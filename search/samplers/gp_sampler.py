"""Bayesian optimisation: propose where the expected hypervolume improvement is largest."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.record.view import View
from search.samplers.strategy import Observed, Strategy
from search.surrogates.cost_model import COST_EXPONENT, fit_cost_model
from search.surrogates.expected_hypervolume import expected_improvement
from search.surrogates.surrogate import MIN_RESULTS, Surrogate
from spaces import Choice, Params, Space

# Random candidates, neighbours of the front, rounds of local search, and its first step size.
RANDOM_CANDIDATES, NEIGHBOURS, ROUNDS, STEP = 512, 256, 3, 0.1
PARENTS = 5  # best candidates whose neighbours the next round tries
FINALISTS = 32  # best candidates, which are then weighted by their cost
# Cross-validated R^2 up to which the model proposes nothing, and from which it proposes always.
LOW_R2, HIGH_R2 = 0.2, 0.6
Array = NDArray[np.float64]


@dataclass(frozen=True)
class GPSampler:
    """Proposes by the expected hypervolume improvement, divided by a power of the predicted cost.

    The improvement is over the front of posterior means, not over the front of measured values, so
    that a lucky seed neither hides a region nor draws the search to it.

    Args:
      space: the search space.
      observed: finished trials of earlier studies under the same battery.
    """

    space: Space
    observed: Observed = ()

    def propose_params(self, view: View, rng: random.Random) -> Params | None:
        """Return the best of many random configurations and of refined neighbours of the front.

        Returns None while there are too few results. Returns None also at random, the more often
        the worse the model predicts trials that were left out (`model_share`).
        """
        if len(view.scored()) + len(self.observed) < MIN_RESULTS:
            return None
        surrogate = Surrogate(self.space, view, self.observed)
        if rng.random() >= model_share(surrogate.loo_r2):
            return None
        positions, gains = search_candidates(surrogate, rng.getrandbits(63))
        candidates = [self.space.at(row.tolist()) for row in positions]
        cost = fit_cost_model(self.space, list(view.trials.values()))
        if cost:
            gains = gains / np.array([cost.seconds(p) for p in candidates]) ** COST_EXPONENT
        return candidates[int(np.argmax(gains))]


def model_share(loo_r2: float) -> float:
    """Return the share of proposals, in [0, 1], that a model with this R^2 makes."""
    return min(1.0, max(0.0, (loo_r2 - LOW_R2) / (HIGH_R2 - LOW_R2)))


def search_candidates(surrogate: Surrogate, seed: int) -> tuple[Array, Array]:
    """Search the unit cube for positions with a large expected improvement.

    Returns:
      Positions [n, knobs], and the expected improvement times the probability of feasibility at
      each, [n].
    """
    rng = np.random.default_rng(seed)
    space, reference_point = surrogate.space, surrogate.reference_point

    def acquisition(positions: Array) -> Array:
        mean, sd = surrogate.predict(positions)
        gain = expected_improvement(mean, sd, surrogate.known_means, reference_point)
        return gain * surrogate.feasibility(positions)

    front = np.array([space.position(params) for params in surrogate.pareto_params])
    uniform = rng.random((RANDOM_CANDIDATES, len(space.knobs)))
    positions = np.concatenate([uniform, _perturb(space, front, rng, NEIGHBOURS, STEP)])
    for step in range(1, ROUNDS + 1):
        gains = acquisition(positions)
        parents = positions[np.argsort(-gains)[:PARENTS]]
        near = _perturb(space, parents, rng, NEIGHBOURS // 2, STEP / 2**step)
        positions = np.concatenate([parents, near])
    gains = acquisition(positions)
    best = np.argsort(-gains)[:FINALISTS]
    return positions[best], gains[best]


def _perturb(
    space: Space, positions: Array, rng: np.random.Generator, count: int, scale: float
) -> Array:
    """Draw `count` neighbours: numbers take a normal step, choices are redrawn now and then."""
    parents = positions[rng.integers(len(positions), size=count)]
    moved = rng.random(parents.shape) < min(1.0, 3 / len(space.knobs))
    choice = np.array([isinstance(knob, Choice) for knob in space.knobs.values()])
    steps = np.clip(parents + rng.normal(0.0, scale, parents.shape), 0.0, 1 - 1e-12)
    redrawn = np.where(rng.random(parents.shape) < 0.3, rng.random(parents.shape), parents)
    return np.where(moved, np.where(choice[None, :], redrawn, steps), parents)


KRIGING = Strategy(
    lambda space, observed: GPSampler(space, observed).propose_params,
    needs_initial_design=False,
    random_share=0.05,  # it falls back to the Sobol design by itself while the model is poor
)
