"""How good a simulated search was, by the true values that only a simulation knows.

A search reports the trials that look best by its noisy values. What counts is what these are truly
worth: the hypervolume of their true values over that of the true front, how many epochs it took to
get there, and how many of them are on the true front of all that was tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from search.record.pareto import front, hypervolume
from search.replay.simulator import Finish, History
from spaces import Params

Point = tuple[float, float]
MARK = 0.95


@dataclass(frozen=True)
class Yardstick:
    """What a search is measured with.

    Args:
      truth: both objectives of a point without noise, fully trained.
      corner: the reference point, below every front worth having.
      full: the hypervolume of the true front above `corner`.
    """

    truth: Callable[[Params], Point]
    corner: Point
    full: float

    def share(self, points: Sequence[Point]) -> float:
        """The part of the true front's hypervolume that these points have, in [0, 1]."""
        return hypervolume(np.asarray(points, dtype=float).reshape(-1, 2), self.corner) / self.full


@dataclass(frozen=True)
class Verdict:
    """One search, judged.

    `curve` holds (epochs spent, share of the hypervolume) after each finished trial; `epochs` is
    when the share first reached `MARK`, infinite where it never did; `precision` is the part of
    the reported trials that no other finished trial truly dominates; `shown` is the hypervolume
    that the noisy values promise, in the same unit as `share`.
    """

    curve: tuple[tuple[int, float], ...]
    share: float
    epochs: float
    precision: float
    shown: float
    finished: int
    stopped: int
    spent: int


def judge(history: History, yardstick: Yardstick) -> Verdict:
    """Judge a search by what its reported fronts were truly worth, all along the way."""
    seen: list[Point] = []
    true: list[Point] = []
    curve: list[tuple[int, float]] = []
    for finish in history.finished:
        seen.append(finish.result.point)
        true.append(yardstick.truth(finish.params))
        best = [point for point, on in zip(true, front(seen), strict=True) if on]
        curve.append((finish.spent, yardstick.share(best)))
    mark = next((float(spent) for spent, share in curve if share >= MARK), math.inf)
    return Verdict(
        tuple(curve),
        curve[-1][1] if curve else 0.0,
        mark,
        precision(front(seen), true),
        yardstick.share(seen),
        len(history.finished),
        history.stopped,
        history.spent,
    )


def precision(reported: Sequence[bool] | np.ndarray, true: Sequence[Point]) -> float:
    """The part of the reported points that none of the others truly dominates; 0 for none."""
    chosen = np.asarray(reported, dtype=bool)
    if not chosen.any():
        return 0.0
    return float(front(np.asarray(true, dtype=float).reshape(-1, 2))[chosen].mean())


def share_at(verdict: Verdict, spent: float) -> float:
    """The share that a search had reached when so many epochs were spent."""
    return next((share for when, share in reversed(verdict.curve) if when <= spent), 0.0)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error (not a number for fewer than two values)."""
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return fmean(values), error


def reported(history: History) -> list[Finish]:
    """The trials that are on the front by what was measured."""
    on = front([finish.result.point for finish in history.finished])
    return [finish for finish, keep in zip(history.finished, on, strict=True) if keep]
