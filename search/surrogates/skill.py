"""How far a model's predictions of trials that it was not fitted to can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from search.surrogates.robust_scale import rank_correlation

Array = NDArray[np.float64]
MIN_TRIALS = 5  # below them a rank correlation says nothing
USEFUL = 0.3  # rank correlation above which a model's choices are better than none


def rank_skill(predicted: Array, measured: Array) -> float:
    """Return the probability that a model ranks trials it has not seen usefully well, in [0, 1].

    That is that the rank correlation of prediction and measurement exceeds `USEFUL`, with Fisher's
    normal approximation of its error, the variance 1 / (n - 3) of atanh. It is the mean over the
    objectives; one that is constant has nothing to rank and does not count.

    Args:
      predicted: [n, objectives], each row without knowledge of its own trial.
      measured: [n, objectives].
    """
    n = len(measured)
    varied = [j for j in range(measured.shape[1]) if n and np.ptp(measured[:, j]) > 0]
    if n < MIN_TRIALS or not varied:
        return 0.0
    return _mean([_probability(predicted[:, j], measured[:, j]) for j in varied])


def mean_rank_correlation(predicted: Array, measured: Array) -> float:
    """Return the rank correlation, the mean over the objectives, in [-1, 1]; arguments as above."""
    columns = range(measured.shape[1])
    return _mean([rank_correlation(predicted[:, j], measured[:, j]) for j in columns])


def _probability(predicted: Array, measured: Array) -> float:
    found = min(0.999, max(-0.999, rank_correlation(predicted, measured)))
    gap = math.atanh(found) - math.atanh(USEFUL)
    return float(ndtr(gap * math.sqrt(len(measured) - 3)))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
