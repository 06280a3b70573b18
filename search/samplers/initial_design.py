"""Configurations that do not depend on any result: a Sobol design, or uniform random draws."""

from __future__ import annotations

import random
import warnings

from scipy.stats import qmc

from search.samplers.strategy import Strategy
from spaces import Params, Space


def sobol_params(space: Space, index: int, seed: int) -> Params:
    """Return configuration `index` of a scrambled Sobol sequence (Owen 1998)."""
    sequence = qmc.Sobol(len(space.knobs), rng=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # balance needs powers of two points
        if index:
            sequence.fast_forward(index)
        return space.at(sequence.random(1)[0])


def random_params(space: Space, rng: random.Random) -> Params:
    """Draw a configuration uniformly, each hyperparameter on its own scale."""
    return space.at([rng.random() for _ in space.knobs])


RANDOM = Strategy(
    lambda space, _: lambda _view, rng: random_params(space, rng),
    needs_initial_design=False,
    random_share=0.0,
)
QMC = Strategy(None)
