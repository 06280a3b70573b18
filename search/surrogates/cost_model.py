"""A cost model fitted to past trials: seconds per epoch as a product over the hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.record.trial import Trial
from spaces import Choice, Knob, Params, Space, Value

MIN_TRIALS = 8  # below them nothing is predicted
RECENT = 300  # trials that the model is fitted to; with thousands, every proposal would wait for it
COST_EXPONENT = 0.5  # a sampler divides the gain of a candidate by its cost to this power
RIDGE = 0.1  # pulls the factors of a hyperparameter to 1 while few trials tell them


@dataclass(frozen=True)
class CostModel:
    """log seconds = base + sum over the hyperparameters of weights @ features.

    An inactive hyperparameter adds nothing.
    """

    space: Space
    base: float
    weights: Mapping[str, NDArray[np.float64]]

    def seconds(self, params: Params) -> float:
        """Predict the seconds that one epoch takes with this configuration."""
        log_factors = (self.log_factors(name, [value])[0] for name, value in params.items())
        return math.exp(self.base + sum(log_factors))

    def log_factors(self, name: str, values: Iterable[Value]) -> NDArray[np.float64]:
        """Return what each of [n] values of hyperparameter `name` adds to log seconds, [n]."""
        knob = self.space.knobs[name]
        return np.stack([_features(knob, value) for value in values]) @ self.weights[name]


def fit_cost_model(space: Space, trials: Sequence[Trial]) -> CostModel | None:
    """Fit the model to the latest trials that have trained an epoch, by ridge regression.

    Returns None if there are fewer than `MIN_TRIALS` of them.
    """
    timed = [
        (t.params, sum(v.seconds for v in t.epochs.values()) / len(t.epochs))
        for t in trials[-RECENT:]
        if t.epochs
    ]
    timed = [(params, seconds) for params, seconds in timed if seconds > 0]
    if len(timed) < MIN_TRIALS:
        return None
    log_seconds = np.log([seconds for _, seconds in timed])
    sizes = {name: len(_features(knob, knob.at(0.0))) for name, knob in space.knobs.items()}
    rows = np.array([_row(space, sizes, params) for params, _ in timed])
    mean, base = rows.mean(axis=0), float(log_seconds.mean())
    centred = rows - mean
    gram = centred.T @ centred + RIDGE * np.eye(rows.shape[1])
    solution = np.linalg.solve(gram, centred.T @ (log_seconds - base))
    weights, at = {}, 0
    for name, size in sizes.items():
        weights[name] = solution[at : at + size]
        at += size
    return CostModel(space, base - float(mean @ solution), weights)


def _row(space: Space, sizes: Mapping[str, int], params: Params) -> NDArray[np.float64]:
    return np.concatenate(
        [
            _features(knob, params[name]) if name in params else np.zeros(sizes[name])
            for name, knob in space.knobs.items()
        ]
    )


def _features(knob: Knob, value: Value) -> NDArray[np.float64]:
    """Encode a choice one-hot, a number as [1 (it is active), its size]."""
    if isinstance(knob, Choice):
        return np.array([float(value == option) for option in knob.options])
    number, low, high = float(value), float(knob.low), float(knob.high)
    if low > 0:  # a cost is a power of a width, a depth, a number of steps
        return np.array([1.0, math.log(number / low)])
    return np.array([1.0, (number - low) / (high - low)])
