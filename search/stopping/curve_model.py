"""A model of learning curves: the final values of a trial, predicted from its values at a rung."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, norm, qmc

from search.record.pareto import front

Array = NDArray[np.float64]
PENALTY = 2.0  # of a slope: the prior says that the gain is the same for all, worth so many trials
DRAWS = 256  # of a predicted final value
MIN_TRIALS = 5  # to fit the model


class Prediction(NamedTuple):
    """The predicted final values of a trial: a Student t distribution of both objectives.

    Args:
      mean: [2].
      covariance: [2, 2] scale matrix; the noise of both objectives is correlated.
      degrees: of freedom.
    """

    mean: Array
    covariance: Array
    degrees: float

    def front_probability(self, finals: Array) -> float:
        """Return the probability that no one of [n, 2] final values is as good in both objectives.

        It is a share of `DRAWS` quasi-random draws, the same for all predictions.
        """
        root = np.linalg.cholesky(self.covariance)
        drawn = self.mean + _draws(self.degrees) @ root.T
        return 1.0 - float(np.mean(_beaten(_staircase(finals), drawn)))


@dataclass(frozen=True)
class CurveModel:
    """Final values as values at a rung plus a gain, which depends linearly on the features.

    The gain of each objective has a slope for each feature, drawn towards 0 (ridge regression): at
    first all trials are expected to gain the same. What the line does not explain is noise, with
    the covariance of the leave-one-out residuals, so the spread of predictions is that of trials
    which the model has not seen.

    Args:
      features: [n, f] of trials that have finished: what was known at the rung.
      rungs: [n, 2] their values at the rung.
      finals: [n, 2] their final values; n is at least `MIN_TRIALS`.
    """

    features: Array
    rungs: Array
    finals: Array

    @cached_property
    def _unit(self) -> tuple[Array, Array]:
        """Mean and standard deviation of each feature."""
        sd = self.features.std(axis=0)
        return self.features.mean(axis=0), np.where(sd > 0, sd, 1.0)

    def _design(self, features: Array) -> Array:
        mean, sd = self._unit
        rows = (np.atleast_2d(features) - mean) / sd
        return np.concatenate([np.ones((len(rows), 1)), rows], axis=1)

    @cached_property
    def _inverse(self) -> Array:
        z = self._design(self.features)
        penalty = np.diag([0.0, *[PENALTY] * (z.shape[1] - 1)])
        return np.asarray(np.linalg.inv(z.T @ z + penalty))

    @cached_property
    def residuals(self) -> Array:
        """Leave-one-out residuals [n, 2]: final values minus those that the others predict."""
        z, gain = self._design(self.features), self.finals - self.rungs
        half = z @ self._inverse  # the hat matrix is half @ z.T, [n, n]
        left = 1 - (half * z).sum(axis=1)
        return np.asarray((gain - half @ (z.T @ gain)) / np.maximum(left, 1e-3)[:, None])

    def predict(self, features: Array, rung: Array) -> Prediction:
        """Predict the final values of a trial that has just reached the rung."""
        z, gain = self._design(self.features), self.finals - self.rungs
        row = self._design(features)[0]
        mean = rung + row @ self._inverse @ z.T @ gain
        return self._prediction(mean, self.residuals)

    def predict_left_out(self, index: int) -> Prediction:
        """Predict the final values of one of the trials from all others."""
        mean = self.finals[index] - self.residuals[index]
        return self._prediction(mean, np.delete(self.residuals, index, axis=0))

    def left_out_probabilities(self, finals: Array) -> Array:
        """Return for each trial the probability of the front, predicted from all others, [n].

        It is `predict_left_out(i).front_probability`, for all trials at once.

        Args:
          finals: [m, 2] final values that make the front; a trial's own is left out of them.
        """
        means, r = self.finals - self.residuals, self.residuals
        products = r[:, :, None] * r[:, None, :]
        spread = (products.sum(axis=0) - products) / (len(r) - 1)
        roots = np.linalg.cholesky(spread + self._tiny)
        draws = _draws(self._degrees(len(r) - 1))
        common = _staircase(finals)
        chances = np.empty(len(r))
        for i, (mean, root) in enumerate(zip(means, roots, strict=True)):
            own = self.finals[i]
            on_front = (common == own).all(axis=1).any()
            best = _staircase(_without(finals, own)) if on_front else common
            chances[i] = 1.0 - np.mean(_beaten(best, mean + draws @ root.T))
        return chances

    def _prediction(self, mean: Array, residuals: Array) -> Prediction:
        spread = residuals.T @ residuals / len(residuals)
        return Prediction(mean, spread + self._tiny, self._degrees(len(residuals)))

    @cached_property
    def _tiny(self) -> Array:
        """Added to each covariance, so that it has a root, [2, 2]."""
        return np.diag(1e-12 * (np.abs(self.finals).max(axis=0) ** 2 + 1e-300))

    def _degrees(self, residuals: int) -> float:
        return max(2.0, float(residuals - self.features.shape[1] - 1))


def _staircase(points: Array) -> Array:
    """Return the front of [n, 2] points, the first objective rising, so the second falls."""
    best = points[front(points)]  # whatever another one beats, one of these beats too
    return np.asarray(best[np.argsort(best[:, 0], kind="stable")])


def _beaten(staircase: Array, points: Array) -> NDArray[np.bool_]:
    """Return which of [n, 2] points a member of a front equals or beats in both objectives."""
    first = np.searchsorted(staircase[:, 0], points[:, 0])  # the members from here on beat the one
    second = np.append(staircase[:, 1], -np.inf)  # and this one of them is best in the other
    return np.asarray(second[first] >= points[:, 1])


def _without(points: Array, point: Array) -> Array:
    """Return the points without the first one that is equal to `point`."""
    same = np.flatnonzero((points == point).all(axis=1))[:1]
    return np.delete(points, same, axis=0)


@lru_cache
def _draws(degrees: float) -> Array:
    """Return draws of a standard bivariate t distribution, [d, 2]."""
    points = qmc.Halton(3, scramble=True, rng=0).random(DRAWS)
    scale = np.sqrt(chi2.ppf(points[:, 2], degrees) / degrees)
    return np.asarray(norm.ppf(points[:, :2]) / scale[:, None])
