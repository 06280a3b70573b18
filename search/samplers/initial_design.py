"""Configurations that do not depend on any result: a Sobol design, or uniform random draws."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence

from scipy.stats import qmc

from search.samplers.strategy import Strategy
from spaces import Params, Space, Value, exists


def sobol_params(space: Space, index: int, seed: int) -> Params:
    """Return configuration `index` of a scrambled Sobol sequence (Owen 1998)."""
    sequence = qmc.Sobol(len(space.knobs), rng=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # balance needs powers of two points
        if index:
            sequence.fast_forward(index)
        return params_at(space, sequence.random(1)[0])


def random_params(space: Space, rng: random.Random) -> Params:
    """Draw a configuration uniformly, each hyperparameter on its own scale."""
    return params_at(space, [rng.random() for _ in space.knobs])


def params_at(space: Space, position: Sequence[float]) -> Params:
    """Return the configuration at a position in the unit cube, one coordinate a hyperparameter.

    Inactive conditional hyperparameters are dropped.
    """
    params: dict[str, Value] = {}
    for (name, knob), u in zip(space.knobs.items(), position, strict=True):
        if exists(knob, params):
            params[name] = knob.at(float(u))
    return params


RANDOM = Strategy(
    lambda space, _: lambda _view, rng: random_params(space, rng),
    needs_initial_design=False,
    random_share=0.0,
)
QMC = Strategy(None)
