"""A finalist: a trial that is trained again with fresh seeds, and what those trainings score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adv.intervals import MASKING_GAP_LIMIT
from search.finals.selection import UNTOLD
from search.record.trial import Trial
from search.record.trial_result import Interval, TrialResult, maximised
from spaces import OBJECTIVES, find_objective

Pair = tuple[float, float]
UNKNOWN: Pair = (math.nan, math.nan)


@dataclass(frozen=True)
class Finalist:
    """A trial that is trained again with fresh seeds, or that is reported without.

    Args:
      trial: of the search; its result selected it.
      runs: its finished trainings with fresh seeds, whose results are on the test split under the
        final battery, the same for all.
      started: how many trainings were started, failed and running ones included.
      mean: of both objectives over `runs`, as `TrialResult.point`: larger is better. Without a run
        it is the posterior mean, given the trial's one training and all other trials; NaN if not
        known.
      intervals: 95 % interval of each mean, over seeds and test images.
      p_front: probability of being on the front of all trials of the search; NaN if not known.
      on_front: True if it is reported as a member of the front.
    """

    trial: Trial
    runs: tuple[Trial, ...] = ()
    started: int = 0
    mean: Pair = UNKNOWN
    intervals: tuple[Interval, Interval] = (UNKNOWN, UNKNOWN)
    p_front: float = math.nan
    on_front: bool = False

    @property
    def aims(self) -> tuple[str, str]:
        """The two objectives of the search, in the order of `mean`."""
        return self.trial.result.aims if self.trial.result else OBJECTIVES

    @property
    def judged(self) -> int:
        """Which objective, 0 or 1, its trainings are told apart by: the last that is a score."""
        return max(
            (m for m, name in enumerate(self.aims) if find_objective(name).larger), default=1
        )

    @property
    def known(self) -> bool:
        """True if it has a fresh seed, is reported without one, or may well be on the front."""
        return bool(self.runs) or self.on_front or self.p_front >= UNTOLD

    @property
    def points(self) -> list[Pair]:
        """Both objectives of each fresh seed."""
        return [run.result.point for run in self.runs if run.result]

    @property
    def worst(self) -> Trial | None:
        """The training that is worst in the objective that tells them apart."""
        m = self.judged
        return min(
            self.runs, key=lambda run: run.result.point[m] if run.result else 0, default=None
        )

    @property
    def validation_mean(self) -> Pair | None:
        """Mean over the fresh seeds on the search's own images, under the search's battery."""
        return self._mean_of(lambda result: result.details.validation)

    @property
    def claimed_mean(self) -> Pair | None:
        """Mean over the fresh seeds on the test split, under the search's battery."""
        return self._mean_of(lambda result: result.details.claimed)

    def _mean_of(self, read: Callable[[TrialResult], Mapping[str, float] | None]) -> Pair | None:
        """Return the mean of both objectives, larger being better, over the runs that have them."""
        rows = []
        for run in self.runs:
            values = read(run.result) if run.result else None
            if run.result and values and all(name in values for name in run.result.aims):
                rows.append(maximised(values, run.result.aims))
        return mean_pair(rows) if rows else None

    @property
    def gap(self) -> tuple[float, Interval] | None:
        """By how much the final battery lowers the mean attacked accuracy, in [0, 1].

        With its interval, the mean one of the seeds, because they are attacked on the same images.
        """
        known = [run.result.details.masking_gap for run in self.runs if run.result]
        gaps = [gap for gap in known if gap]
        if not gaps:
            return None
        low, high = mean_pair([gap.interval for gap in gaps])
        return float(np.mean([gap.gap for gap in gaps])), (low, high)

    @property
    def flagged(self) -> bool:
        """True if the whole interval of the gap is above its limit: masked gradients."""
        known = [run.result.details.masking_gap for run in self.runs if run.result]
        limits = [MASKING_GAP_LIMIT if gap.limit is None else gap.limit for gap in known if gap]
        return self.gap is not None and self.gap[1][0] > float(np.mean(limits))


def mean_pair(rows: Sequence[Sequence[float]]) -> Pair:
    """Return the mean of [n, 2] values."""
    first, second = np.mean(rows, axis=0)
    return float(first), float(second)
