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
        best = finals[front(finals)]  # whatever another one beats, one of these beats too
        beaten = np.any(np.all(best[None] >= drawn[:, None], axis=2), axis=1)
        return 1.0 - float(np.mean(beaten))


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
        hat = z @ self._inverse @ z.T
        left = 1 - np.diagonal(hat)
        return np.asarray((gain - hat @ gain) / np.maximum(left, 1e-3)[:, None])

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

    def _prediction(self, mean: Array, residuals: Array) -> Prediction:
        spread = residuals.T @ residuals / len(residuals)
        tiny = 1e-12 * (np.abs(self.finals).max(axis=0) ** 2 + 1e-300)
        degrees = len(residuals) - self.features.shape[1] - 1
        return Prediction(mean, spread + np.diag(tiny), max(2.0, float(degrees)))


@lru_cache
def _draws(degrees: float) -> Array:
    """Return draws of a standard bivariate t distribution, [d, 2]."""
    points = qmc.Halton(3, scramble=True, rng=0).random(DRAWS)
    scale = np.sqrt(chi2.ppf(points[:, 2], degrees) / degrees)
    return np.asarray(norm.ppf(points[:, :2]) / scale[:, None])
