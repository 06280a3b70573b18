"""The noise between training seeds, pooled over the finalists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
PRIOR_DOF = 4.0  # how many observations the prior guess of the noise is worth


def pool_covariance(scatters: Sequence[Floats], degrees: Sequence[int], sd: Floats) -> Floats:
    """Pool the covariance between seeds [m, m] over the finalists.

    Variances are averaged as logarithms, so that one finalist with unstable training does not widen
    all others; correlations are averaged as they are.

    Args:
      scatters: of each finalist the sum of squares and products around its mean, [m, m].
      degrees: of freedom of each.
      sd: [m], the guess, which counts as `PRIOR_DOF` degrees of freedom.
    """
    guess = np.maximum(sd, 1e-9) ** 2
    logs, correlation, weight = PRIOR_DOF * np.log(guess), PRIOR_DOF * np.eye(len(guess)), PRIOR_DOF
    for scatter, d in zip(scatters, degrees, strict=True):
        if d == 0:
            continue
        variance = np.maximum(np.diag(scatter) / d, 0.01 * guess)
        # Correct the bias of a log variance: E log(chi2_d / d) is about -1/d - 1/(3 d^2).
        logs = logs + d * (np.log(variance) + 1 / d + 1 / (3 * d * d))
        correlation = correlation + scatter / np.sqrt(np.outer(variance, variance))
        weight += d
    spread = np.exp(logs / weight / 2)
    covariance: Floats = correlation / weight * np.outer(spread, spread)
    covariance[np.diag_indices(len(guess))] = spread**2
    return covariance


def estimate_search_weight(
    search: Floats, fresh: Mapping[int, Floats], variance: Floats, guess: Floats
) -> float:
    """Return how many fresh values a search value is worth, in (0, 1].

    It is the variance between seeds over the variance of search values around the true value. The
    latter is estimated from the finalists, with the larger of `guess` squared and the variance as a
    prior worth `PRIOR_DOF` of them.

    Args:
      search: [n, m] values of the search.
      fresh: the values [k, m] of fresh seeds, for some trials.
      variance: [m] between seeds.
      guess: [m] standard deviation.
    """
    squares = PRIOR_DOF * np.maximum(guess**2, variance)
    for i, r in fresh.items():
        squares = squares + np.maximum((search[i] - r.mean(axis=0)) ** 2 - variance / len(r), 0.0)
    return float(np.minimum(1.0, variance * (PRIOR_DOF + len(fresh)) / squares).mean())


def as_rows(points: ArrayLike) -> Floats:
    """Return [n, m] values as an array of floats.

    Raises:
      ValueError: they are not two-dimensional.
    """
    p = np.asarray(points, dtype=float)
    if p.ndim != 2 and p.size:
        raise ValueError(f"expected rows of values, got shape {p.shape}")
    return p


def scatter_matrix(rows: Floats) -> Floats:
    """Return the sum of squares and products around the mean, [m, m], of [n, m] values."""
    centred = rows - rows.mean(axis=0)
    return np.asarray(centred.T @ centred)
