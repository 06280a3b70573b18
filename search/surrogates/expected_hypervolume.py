"""The expected gain of hypervolume of two independent normal objectives, in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from search.record.pareto import front

Array = NDArray[np.float64]


def expected_gain(mean: Array, sd: Array, points: ArrayLike, corner: ArrayLike) -> Array:
    """By how much each of n candidates is expected to enlarge the hypervolume.

    Args:
      mean: [n, 2], larger is better.
      sd: [n, 2], above 0.
      points: [m, 2] that are there already.
      corner: the reference point.
    """
    c = np.asarray(corner, dtype=float)
    p = np.asarray(points, dtype=float).reshape(-1, 2)
    p = p[(p > c).all(axis=1)]
    p = p[front(p)] if len(p) else p
    p = p[np.argsort(p[:, 0], kind="stable")]
    # Between two neighbours' first values, a candidate has to exceed the right one's second value.
    edges = np.concatenate([[c[0]], p[:, 0], [np.inf]])
    heights = np.concatenate([p[:, 1], [c[1]]])
    over = np.stack([_excess(mean[:, 0], sd[:, 0], e) for e in edges[:-1]])
    width = over - np.concatenate([over[1:], np.zeros((1, len(mean)))])
    tall = np.stack([_excess(mean[:, 1], sd[:, 1], h) for h in heights])
    return np.asarray((width * tall).sum(axis=0))


def _excess(mean: Array, sd: Array, bound: float) -> Array:
    """E max(0, Y - bound) of normal Y."""
    z = (mean - bound) / sd
    return np.asarray((mean - bound) * ndtr(z) + sd * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))
