"""Configurations that do not depend on any result: a Sobol design, random draws, and priors."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence

from scipy.stats import qmc

from search.samplers.strategy import Strategy
from spaces import Choice, Params, Space, prior_position


def sobol_params(space: Space, index: int, seed: int, *, by_prior: bool = False) -> Params:
    """Return configuration `index` of a scrambled Sobol sequence (Owen 1998).

    With `by_prior` it is spread over the priors of the hyperparameters that have one.
    """
    sequence = qmc.Sobol(len(space.knobs), rng=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # balance needs powers of two points
        if index:
            sequence.fast_forward(index)
        position = sequence.random(1)[0]
    return space.at(apply_priors(space, position) if by_prior else position)


def has_priors(space: Space) -> bool:
    """Return whether a hyperparameter of the space has a prior."""
    return any(not isinstance(knob, Choice) and knob.prior for knob in space.knobs.values())


def apply_priors(space: Space, position: Sequence[float]) -> list[float]:
    """Return a uniform position as one that is distributed by the priors, [knobs]."""
    knobs = space.knobs.values()
    return [prior_position(knob, float(u)) for knob, u in zip(knobs, position, strict=True)]


def random_params(space: Space, rng: random.Random) -> Params:
    """Draw a configuration uniformly, each hyperparameter on its own scale."""
    return space.at([rng.random() for _ in space.knobs])


RANDOM = Strategy(
    lambda space, _: lambda _view, rng: random_params(space, rng),
    needs_initial_design=False,
    random_share=0.0,
)
QMC = Strategy(None)
