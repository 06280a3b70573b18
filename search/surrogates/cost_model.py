"""What a trial costs, learned from those that ran: seconds an epoch as a product over the knobs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.record.trial import Trial
from spaces import Choice, Knob, Params, Space, Value

LEAST = 8  # trials before anything is predicted
RECENT = 300  # trials that it is fitted to, or a proposal among thousands would wait for it
COST_EXPONENT = 0.5  # a sampler divides the gain of a candidate by its cost to this power
RIDGE = 0.1  # pulls a knob's factor to 1 while few trials speak for it


@dataclass(frozen=True)
class Cost:
    """log seconds = base + sum over the knobs of weights @ features.

    A knob that does not exist at a point adds nothing.
    """

    space: Space
    base: float
    weights: Mapping[str, NDArray[np.float64]]

    def seconds(self, params: Params) -> float:
        """Predicted for one epoch of training at a point."""
        return math.exp(self.base + sum(self.part(name, [v])[0] for name, v in params.items()))

    def part(self, name: str, values: Iterable[Value]) -> NDArray[np.float64]:
        """What each of [n] values of a knob adds to the log of the seconds, [n]."""
        knob = self.space.knobs[name]
        return np.stack([_features(knob, value) for value in values]) @ self.weights[name]


def fitted(space: Space, trials: Sequence[Trial]) -> Cost | None:
    """The model of the latest trials that have trained an epoch, None where they are too few."""
    known = [(t.params, sum(v.seconds for v in t.epochs.values()) / len(t.epochs))
             for t in trials[-RECENT:] if t.epochs]  # fmt: skip
    known = [(params, seconds) for params, seconds in known if seconds > 0]
    if len(known) < LEAST:
        return None
    logs = np.log([seconds for _, seconds in known])
    sizes = {name: len(_features(knob, knob.at(0.0))) for name, knob in space.knobs.items()}
    rows = np.array([_row(space, sizes, params) for params, _ in known])
    mean, base = rows.mean(axis=0), float(logs.mean())
    centred = rows - mean
    gram = centred.T @ centred + RIDGE * np.eye(rows.shape[1])
    solved = np.linalg.solve(gram, centred.T @ (logs - base))
    weights, at = {}, 0
    for name, size in sizes.items():
        weights[name] = solved[at : at + size]
        at += size
    return Cost(space, base - float(mean @ solved), weights)


def _row(space: Space, sizes: Mapping[str, int], params: Params) -> NDArray[np.float64]:
    return np.concatenate([
        _features(knob, params[name]) if name in params else np.zeros(sizes[name])
        for name, knob in space.knobs.items()
    ])  # fmt: skip


def _features(knob: Knob, value: Value) -> NDArray[np.float64]:
    """One of so many for a choice; whether it exists and its size for a number."""
    if isinstance(knob, Choice):
        return np.array([float(value == option) for option in knob.options])
    number, low, high = float(value), float(knob.low), float(knob.high)
    if low > 0:  # a cost is a power of a width, a depth, a number of steps
        return np.array([1.0, math.log(number / low)])
    return np.array([1.0, (number - low) / (high - low)])
