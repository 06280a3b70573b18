"""Expected hypervolume improvement (EHVI) of two independent normal objectives, in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from search.record.pareto import front

Array = NDArray[np.float64]


def expected_improvement(
    mean: Array, sd: Array, front_points: ArrayLike, reference_point: ArrayLike
) -> Array:
    """Return by how much each of n candidates is expected to enlarge the hypervolume, [n].

    Args:
      mean: [n, 2], larger is better.
      sd: [n, 2], above 0.
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
    excess = np.stack([_expected_excess(mean[:, 0], sd[:, 0], e) for e in edges[:-1]])
    widths = excess - np.concatenate([excess[1:], np.zeros((1, len(mean)))])
    rises = np.stack([_expected_excess(mean[:, 1], sd[:, 1], h) for h in heights])
    return np.asarray((widths * rises).sum(axis=0))


def _expected_excess(mean: Array, sd: Array, bound: float) -> Array:
    """Return E max(0, Y - bound) of normal Y, [n]."""
    z = (mean - bound) / sd
    return np.asarray((mean - bound) * ndtr(z) + sd * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))
