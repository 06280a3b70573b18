"""The quality of a simulated search, by the true objectives that only a simulation knows.

A search reports the trials that look best by its noisy values. It is scored by their true values:
their hypervolume as a share of the true front's, the epochs that it took to get there, and how many
reported trials are truly non-dominated among all that were tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from search.record.pareto import front, hypervolume
from search.replay.simulator import SearchHistory
from spaces import Params

Point = tuple[float, float]
TARGET = 0.95  # share of the hypervolume whose epochs are counted


@dataclass(frozen=True)
class TrueFront:
    """The true front of a problem, with which a search is compared.

    Args:
      objectives: returns both objectives of a configuration, fully trained and without noise.
      reference_point: below every front worth having.
      hypervolume: of the true front above `reference_point`.
    """

    objectives: Callable[[Params], Point]
    reference_point: Point
    hypervolume: float

    def share(self, points: Sequence[Point]) -> float:
        """Return the hypervolume of the points as a share of the true front's, in [0, 1]."""
        p = np.asarray(points, dtype=float).reshape(-1, 2)
        return hypervolume(p, self.reference_point) / self.hypervolume


@dataclass(frozen=True)
class SearchScore:
    """The quality of one search.

    Args:
      curve: (epochs spent, true hypervolume share of the reported front) after each finished trial.
      share: the last of these shares.
      epochs_to_target: epochs spent when the share first reached `TARGET`; infinite if never.
      precision: share of the reported trials that no other finished trial truly dominates.
      measured_share: the hypervolume share by the noisy values, which is too optimistic.
      finished: trials with a result.
      stopped: trials stopped early.
      spent: epochs of all trials.
    """

    curve: tuple[tuple[int, float], ...]
    share: float
    epochs_to_target: float
    precision: float
    measured_share: float
    finished: int
    stopped: int
    spent: int


def score_search(history: SearchHistory, true_front: TrueFront) -> SearchScore:
    """Score a search by the true values of the fronts that it reported on the way."""
    measured: list[Point] = []
    true: list[Point] = []
    curve: list[tuple[int, float]] = []
    for trial in history.finished:
        measured.append(trial.result.point)
        true.append(true_front.objectives(trial.params))
        reported = [point for point, on in zip(true, front(measured), strict=True) if on]
        curve.append((trial.spent, true_front.share(reported)))
    target = next((float(spent) for spent, share in curve if share >= TARGET), math.inf)
    return SearchScore(
        tuple(curve),
        curve[-1][1] if curve else 0.0,
        target,
        precision(front(measured), true),
        true_front.share(measured),
        len(history.finished),
        history.stopped,
        history.spent,
    )


def precision(reported: Sequence[bool] | np.ndarray, true: Sequence[Point]) -> float:
    """Return the share of reported points that are truly non-dominated; 0 if none is reported.

    Args:
      reported: [n] booleans.
      true: [n] true objectives of all points.
    """
    chosen = np.asarray(reported, dtype=bool)
    if not chosen.any():
        return 0.0
    return float(front(np.asarray(true, dtype=float).reshape(-1, 2))[chosen].mean())


def share_at(score: SearchScore, spent: float) -> float:
    """Return the hypervolume share that a search had reached after so many epochs."""
    return next((share for when, share in reversed(score.curve) if when <= spent), 0.0)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error (NaN for fewer than two values)."""
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return fmean(values), error
