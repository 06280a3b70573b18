"""Bayesian optimisation: propose where a model expects the largest hypervolume improvement."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.record.view import View
from search.samplers.finite_space import configuration_key, tried_keys
from search.samplers.initial_design import apply_priors, has_priors
from search.samplers.strategy import Observed, Strategy
from search.surrogates.cost_model import COST_EXPONENT, fit_cost_model
from search.surrogates.encoding import encode_positions
from search.surrogates.forest import Forest
from search.surrogates.front_model import MIN_RESULTS, FrontModel
from search.surrogates.surrogate import Surrogate
from spaces import Choice, Params, Space

# Random candidates, neighbours of the front, rounds of local search, and its first step size.
RANDOM_CANDIDATES, NEIGHBOURS, ROUNDS, STEP = 512, 256, 3, 0.1
PARENTS = 5  # best candidates whose neighbours the next round tries
FINALISTS = 64  # best candidates, which are then weighted by their cost
Array = NDArray[np.float64]


@dataclass(frozen=True)
class ModelSampler:
    """Proposes by the expected hypervolume improvement, divided by a power of the predicted cost.

    The improvement is over the front of posterior means, not over the front of measured values, so
    that a lucky seed neither hides a region nor draws the search to it.

    Args:
      space: the search space.
      fit: makes the model: from the space, the search, `observed` and a generator.
      observed: finished trials of earlier studies under the same battery.
    """

    space: Space
    fit: Callable[[Space, View, Observed, random.Random], FrontModel]
    observed: Observed = ()

    def propose_params(self, view: View, rng: random.Random) -> Params | None:
        """Return the best of many random configurations and of refined neighbours of the front.

        Returns None while there are too few results. Returns None also at random, the more often
        the worse the model ranks trials that were left out (`FrontModel.skill`).
        """
        if len(view.scored()) + len(self.observed) < MIN_RESULTS:
            return None
        model = self.fit(self.space, view, self.observed, rng)
        if rng.random() >= model.skill:
            return None
        return best_candidate(model, view, rng)


def fit_gaussian_processes(
    space: Space, view: View, observed: Observed, rng: random.Random
) -> Surrogate:
    """Return Gaussian processes fitted to a search; nothing is drawn."""
    del rng
    return Surrogate(space, view, observed)


def fit_forest(space: Space, view: View, observed: Observed, rng: random.Random) -> Forest:
    """Return a forest fitted to a search, its trees drawn from `rng`."""
    return Forest(space, view, observed, rng.getrandbits(32))


def best_candidate(model: FrontModel, view: View, rng: random.Random) -> Params | None:
    """Return the candidate with the largest expected gain for its cost that was not tried before.

    Returns None if all candidates were tried.
    """
    positions, gains = search_candidates(model, rng.getrandbits(63))
    tried = tried_keys(view)
    candidates: list[Params] = []
    chosen: list[float] = []
    for row, gain in zip(positions, gains.tolist(), strict=True):
        params = model.space.at(row.tolist())
        if configuration_key(params) not in tried and len(candidates) < FINALISTS:
            candidates.append(params)
            chosen.append(gain)
    if not candidates:
        return None
    cost = fit_cost_model(model.space, list(view.trials.values()))
    values = np.array(chosen)
    if cost:
        values = values / np.array([cost.seconds(p) for p in candidates]) ** COST_EXPONENT
    return candidates[int(np.argmax(values))]


def search_candidates(model: FrontModel, seed: int) -> tuple[Array, Array]:
    """Search the unit cube for positions with a large expected improvement.

    Returns:
      Positions [n, knobs] of different configurations, the best first, and the expected
      improvement times the probability of feasibility at each, [n].
    """
    rng = np.random.default_rng(seed)
    space = model.space
    front = np.array([space.position(params) for params in model.pareto_params])
    uniform = rng.random((RANDOM_CANDIDATES, len(space.knobs)))
    if has_priors(space):
        uniform[::2] = [apply_priors(space, row) for row in uniform[::2].tolist()]
    new = np.concatenate([uniform, _perturb(space, front, rng, NEIGHBOURS, STEP)])
    positions, gains = np.empty((0, len(space.knobs))), np.empty(0)
    for step in range(1, ROUNDS + 2):
        gain = model.expected_gain(new) * model.feasibility(new)
        positions, gains = np.concatenate([positions, new]), np.concatenate([gains, gain])
        kept = _distinct(space, positions)
        order = kept[np.argsort(-gains[kept], kind="stable")]
        positions, gains = positions[order], gains[order]
        new = _perturb(space, positions[:PARENTS], rng, NEIGHBOURS // 2, STEP / 2**step)
    return positions, gains


def _distinct(space: Space, positions: Array) -> NDArray[np.intp]:
    """Return the indices of the first position of each configuration."""
    encoded = np.round(encode_positions(space, positions), 9)
    return np.sort(np.unique(encoded, axis=0, return_index=True)[1])


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
    lambda space, observed: ModelSampler(space, fit_gaussian_processes, observed).propose_params,
    needs_initial_design=False,
    random_share=0.05,  # it falls back to the Sobol design by itself while the model is poor
)
FOREST = Strategy(
    lambda space, observed: ModelSampler(space, fit_forest, observed).propose_params,
    needs_initial_design=False,
    random_share=0.05,
)
