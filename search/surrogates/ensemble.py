"""Both models of the objectives together: a candidate must convince the one that knows better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.surrogates.front_model import FrontModel

Array = NDArray[np.float64]
TINY = 1e-9  # below every gain that counts, so that its logarithm exists


class Ensemble(FrontModel):
    """The weighted geometric mean of the gains that several models expect.

    The best of many candidates under one model is often one that this model overrates; another
    model, whose errors differ, seldom overrates the same. A model weighs 1 / (1 - r^2) with r its
    rank correlation with trials that were left out (`FrontModel.accuracy`), as the variance of its
    errors would have it.

    Args:
      models: at least one, of the same trials.
    """

    def __init__(self, models: Sequence[FrontModel]) -> None:
        self.models = models
        first = models[0]
        self.space, self.done, self.feasible = first.space, first.done, first.feasible
        self.mean, self.known_means = first.mean, first.known_means
        precision = np.array([m.precision for m in models])
        self.weights = precision / precision.sum()
        self.skill = float(self.weights @ [m.skill for m in models])
        self.accuracy = float(self.weights @ [m.accuracy for m in models])

    def predict(self, positions: Array) -> tuple[Array, Array]:
        """Return the weighted means of the models' means and standard deviations, [n, 2] each."""
        mean, sd = zip(*(m.predict(positions) for m in self.models), strict=True)
        return np.tensordot(self.weights, mean, 1), np.tensordot(self.weights, sd, 1)

    def expected_gain(self, positions: Array) -> Array:
        """Return the weighted geometric mean of the gains that the models expect, [n]."""
        gains = np.array([m.expected_gain(positions) for m in self.models])
        return np.asarray(np.exp(self.weights @ np.log(np.maximum(gains, TINY))))

    def feasibility(self, positions: Array) -> Array:
        """Return the weighted mean of the probabilities of feasibility, [n]."""
        return np.asarray(self.weights @ [m.feasibility(positions) for m in self.models])
