"""The front that a model of both objectives predicts, as a base class of the models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.record.pareto import front
from search.record.trial import Trial
from search.record.trial_result import TrialResult
from search.record.view import View
from spaces import Params, Space

Array = NDArray[np.float64]
MIN_RESULTS = 4  # below them nothing is fitted
MAX_RESULTS = 300  # finished trials that a model is fitted to; beyond that the oldest are left out
MARGIN = 1.0  # distance of the reference point below the front, in ranges of the front


class FrontModel(ABC):
    """A model of both objectives, on `search.surrogates.robust_scale`.

    Attributes:
      space: the search space.
      done: the finished trials that the model knows.
      feasible: [n] booleans, which of them keep the constraints.
      mean: [n, 2] predictions of their objectives.
      known_means: [m, 2] predictions of the feasible ones (of all if none is feasible) and of the
        running trials.
      skill: the probability in [0, 1] that the model ranks unseen trials usefully well
        (`search.surrogates.skill`).
      accuracy: the rank correlation with trials that were left out, the mean over both objectives.
    """

    space: Space
    done: list[Trial]
    feasible: NDArray[np.bool_]
    mean: Array
    known_means: Array
    skill: float
    accuracy: float

    @property
    def precision(self) -> float:
        """The inverse variance of the errors in units of the values', 1 / (1 - accuracy^2)."""
        return 1 / (1.02 - max(0.0, self.accuracy) ** 2)

    @abstractmethod
    def predict(self, positions: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the final objectives at n positions, [n, 2]."""

    @abstractmethod
    def expected_gain(self, positions: Array) -> Array:
        """Return the expected gain in hypervolume over the front of `known_means`, [n]."""

    @abstractmethod
    def feasibility(self, positions: Array) -> Array:
        """Return the probability that a trial at each of n positions is feasible, [n]."""

    @property
    def reference_point(self) -> Array:
        """A reference point below the front of `known_means`, so far that its ends count."""
        best = self.known_means[front(self.known_means)]
        span = np.maximum(np.ptp(best, axis=0), 0.5)
        return np.asarray(best.min(axis=0) - MARGIN * span)

    @property
    def pareto_params(self) -> list[Params]:
        """Configurations of the finished trials on the front of predictions.

        Only feasible trials count, if there are any.
        """
        feasible = self.feasible if self.feasible.any() else ~self.feasible
        done = [t for t, keep in zip(self.done, feasible, strict=True) if keep]
        on_front = front(self.mean[feasible])
        return [t.params for t, keep in zip(done, on_front, strict=True) if keep]


def known_trials(view: View, observed: Sequence[tuple[Params, TrialResult]]) -> list[Trial]:
    """Return the finished trials of earlier studies and of this one.

    Of more than `MAX_RESULTS` these are the latest ones and those on the front.
    """
    earlier = [
        Trial(-1 - n, p, 0, "warm", "finished", result=r) for n, (p, r) in enumerate(observed)
    ]
    done = [*earlier, *view.scored()]
    if len(done) <= MAX_RESULTS:
        return done
    on_front = front([t.result.point for t in done if t.result])
    return [t for i, t in enumerate(done) if on_front[i] or i >= len(done) - MAX_RESULTS]
