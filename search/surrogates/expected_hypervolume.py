"""Expected hypervolume improvement (EHVI) of two normal objectives, in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from search.record.pareto import front

Array = NDArray[np.float64]
NODES = 7  # of the quadrature


def expected_improvement(
    mean: Array, sd: Array | None, front_points: ArrayLike, reference_point: ArrayLike
) -> Array:
    """Return by how much each of n candidates is expected to enlarge the hypervolume, [n].

    Args:
      mean: [n, 2], larger is better.
      sd: [n, 2], above 0; None if the means are the values.
      front_points: [m, 2] points that exist already; dominated ones do not matter.
      reference_point: [2], the point above which the hypervolume is measured.
    """
    ref = np.asarray(reference_point, dtype=float)
    p = np.asarray(front_points, dtype=float).reshape(-1, 2)
    p = p[(p > ref).all(axis=1)]
    p = p[front(p)] if len(p) else p
    p = p[np.argsort(p[:, 0], kind="stable")]
    # Between two neighbours' first values, a candidate has to exceed the right one's second value.
    edges = np.concatenate([[ref[0]], p[:, 0], [np.inf]])
    heights = np.concatenate([p[:, 1], [ref[1]]])
    if sd is None:
        return _improvement(mean, edges, heights)
    excess = np.stack([_expected_excess(mean[:, 0], sd[:, 0], e) for e in edges[:-1]])
    widths = excess - np.concatenate([excess[1:], np.zeros((1, len(mean)))])
    rises = np.stack([_expected_excess(mean[:, 1], sd[:, 1], h) for h in heights])
    return np.asarray((widths * rises).sum(axis=0))


def _improvement(values: Array, edges: Array, heights: Array) -> Array:
    """Return by how much each of n points [n, 2] enlarges the hypervolume, [n].

    A point covers whole strips, from the first whose height it exceeds to the one before its own,
    and a part of its own. Sums over strips are differences of sums from the first one on.

    Args:
      values: [n, 2] the points, larger is better.
      edges: [m + 2] where the strips under the front begin, and infinity, ascending.
      heights: [m + 1] of the strips, descending.
    """
    a, b = values.T
    own = np.searchsorted(edges[1:-1], a, side="right")
    lowest = np.minimum(np.searchsorted(-heights, -b, side="right"), own + 1)
    widths = np.diff(edges[:-1])
    width, area = (np.concatenate([[0.0], np.cumsum(w)]) for w in (widths, widths * heights[:-1]))
    begun = np.minimum(lowest, own)
    whole = b * (width[own] - width[begun]) - (area[own] - area[begun])
    part = (a - edges[own]) * (b - heights[own])
    return np.asarray(np.maximum(0.0, whole + np.where((lowest <= own) & (a > edges[0]), part, 0)))


def correlated_improvement(
    mean: Array, sd: Array, correlation: float, front_points: ArrayLike, reference_point: ArrayLike
) -> Array:
    """Return the expected improvement of two objectives whose errors are correlated, [n].

    Where objectives are in conflict, a candidate that turns out better than predicted in one is
    worse in the other. Both errors share a normal factor; given that they are independent, and
    Gauss-Hermite quadrature takes the mean over it.

    Args:
      mean: [n, 2], larger is better.
      sd: [n, 2], above 0.
      correlation: of the errors of both objectives, in (-1, 1).
      front_points: as in `expected_improvement`.
      reference_point: as in `expected_improvement`.
    """
    shared = abs(correlation)
    loading = sd * np.sqrt(shared) * np.array([1.0, np.sign(correlation)])
    own = sd * np.sqrt(1 - shared)
    factors, weights = np.polynomial.hermite_e.hermegauss(NODES)
    gains = [
        w * expected_improvement(mean + f * loading, own, front_points, reference_point)
        for f, w in zip(factors.tolist(), weights.tolist(), strict=True)
    ]
    return np.asarray(np.sum(gains, axis=0) / weights.sum())


def _expected_excess(mean: Array, sd: Array, bound: float) -> Array:
    """Return E max(0, Y - bound) of normal Y, [n]."""
    z = (mean - bound) / sd
    return np.asarray((mean - bound) * ndtr(z) + sd * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))
