"""Intervals for accuracies."""

from __future__ import annotations

import math

Z95 = 1.959963984540054


def wilson(share: float, n: int, z: float = Z95) -> tuple[float, float]:
    """The Wilson score interval (Wilson 1927) of a share seen in `n` independent draws.

    Also holds, on the safe side, for the mean of n values in [0, 1]: a coin has the largest
    variance of all such values with its mean.

    Args:
      share: in [0, 1].
      n: 1 or more.
      z: normal quantile; the default gives 95 %.
    """
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"a share lies in [0, 1] of 1 or more draws, got {share} of {n}")
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
