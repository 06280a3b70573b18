"""Objectives on the scale on which models see them: no unit and no outlier changes what is learned.

Around the median the scale is linear. Values far below it, such as those of nets that have
collapsed, are pulled in: they stay in order, but set no unit. Values far above it, where the front
may lie, grow with the logarithm of their distance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]
LINEAR = 2.0  # half the width of the linear range around the median, in normal standard deviations
BELOW, ABOVE = 1.0, 6.0  # by how much more the scale can differ from the median, at most
NORMAL_QUARTILE = 0.6745  # of the standard normal distribution
DIGITS = 9  # so that another unit, which rounds differently, gives the same numbers


def robust_scale(values: ArrayLike) -> Array:
    """Return values in units of their spread, winsorised; mean 0 and standard deviation 1, [n].

    The spread is that of the better half, from the median to the upper quartile: up to half of the
    values may be far below the others, and a quarter far above, without changing it. Values that
    are all equal become 0.
    """
    y = np.asarray(values, dtype=float)
    if len(y) == 0 or np.ptp(y) == 0:
        return np.zeros(len(y))
    lower, median, upper = np.quantile(y, [0.25, 0.5, 0.75])
    spread = next(s for s in (upper - median, median - lower, y.std()) if s > 0)
    z = (y - median) / (spread / NORMAL_QUARTILE)
    below, above = np.maximum(0.0, -LINEAR - z), np.maximum(0.0, z - LINEAR)
    z = np.clip(z, -LINEAR, LINEAR)
    z = z - BELOW * below / (BELOW + below) + ABOVE * np.tanh(np.log1p(above) / ABOVE)
    z = np.round(z, DIGITS)
    return np.asarray((z - z.mean()) / z.std())


def rank_correlation(one: ArrayLike, other: ArrayLike) -> float:
    """Return Spearman's rank correlation; 0 if there are fewer than two, or a side is constant."""
    if len(np.asarray(one)) < 2:
        return 0.0
    a, b = rankdata(one), rankdata(other)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
