"""Confidence intervals for accuracies and their differences, limits of masking. Needs no torch."""

from __future__ import annotations

import math

Z95 = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""

MASKING_GAP_LIMIT = 0.04
"""The limit of a masking gap for which no other is recorded: that of earlier versions."""

MISSED_BY_CROSS_ENTROPY = 0.22
"""The share of what can be fooled that PGD on the cross-entropy may miss, of a net not known.

It is .05 to .21 for PGD-20 and PGD-50 on 19 sound nets of CIFAR-10, .28 to .36 on two that mask
their gradients (`benchmarks/gap_calibration.py`). Where the net is at hand, `expected_miss` says
more: sound nets that are not sure exceed it.
"""

MISSED_BY_MARGIN = 0.05
"""The same for attacks on losses that do not saturate, such as the margin.

On 20 sound nets of that table such an attack misses at most .004, on a net whose gradients vanish
.16 (`benchmarks/gap_calibration.py --attack cr_attack --loss margin`).
"""

_MISSED_BY_SURE_NETS, _MISSED_BY_DOUBT, _SLACK = 0.036, 0.368, 0.10
"""PGD on the cross-entropy misses more on nets that doubt: a line, and how far nets lie above it.

Fitted on sound nets of many recipes by `benchmarks/gap_prediction.py benchmarks/gap_nets.csv`.
"""

_SMALLEST_GAP_LIMIT = 0.01  # for borderline images

WRONG_GRADIENTS_LIMIT = 0.1
"""A net is flagged if its gradient is wrong at more than this share of the images tested.

Finite differences and the gradients of sound nets agree at all of them; two wrong ones of the 16
that a trial tests are no chance.
"""


def wilson(share: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Return the Wilson score interval (Wilson 1927) of a fraction of `n` independent draws.

    It is also valid, but conservative, for the mean of n values in [0, 1]: of all such values with
    the same mean, a binary one has the largest variance.

    Args:
      share: the fraction, in [0, 1].
      n: draws, 1 or more.
      z: normal quantile; the default gives 95 %.

    Raises:
      ValueError: the fraction is outside [0, 1], or there is no draw.
    """
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"a share lies in [0, 1] of 1 or more draws, got {share} of {n}")
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def paired_interval(
    total: float,
    squares: float,
    n: int,
    *,
    differing: int | None = None,
    largest: float = 1.0,
    z: float = Z95,
) -> tuple[float, float]:
    """Return the interval of a mean difference over images that both sides have in common.

    It is the interval of Bonett and Price (2012) for paired proportions: two images are added on
    which the sides differ, one in each direction, so it has a width even where all agree. For sums
    of several verdicts these two differ as much as those that differ do, in the root mean square.

    Args:
      total: sum of the differences; for booleans the images won minus the images lost.
      squares: sum of their squares; for booleans the images won plus the images lost.
      n: images, 1 or more.
      differing: images on which the sides differ; None: `squares`, which it is for booleans.
      largest: difference that one image can make.
      z: normal quantile; the default gives 95 %.

    Returns:
      The ends, in the unit of the differences. The observed mean `total / n` lies between them.

    Raises:
      ValueError: there is no image, or the sums cannot be those of n such differences.
    """
    if n < 1 or not abs(total) <= n * largest or not squares <= n * largest**2:
        raise ValueError(f"no {n} differences of at most {largest:g} add up to {total:g}")
    count = squares if differing is None else differing
    added = squares / count if count else largest**2
    middle = total / (n + 2)
    variance = (squares + 2 * added) / (n + 2) - middle**2
    half, mean = z * math.sqrt(max(0.0, variance) / (n + 2)), total / n
    return max(-largest, min(mean, middle - half)), min(largest, max(mean, middle + half))


def mcnemar(won: int, lost: int) -> float:
    """Return the p-value of McNemar's exact test that two sides are right equally often.

    Args:
      won: images on which only the one side is right.
      lost: images on which only the other side is right.
    """
    from scipy.stats import binomtest

    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def gap_limit(natural: float, strong: float, missed: float = MISSED_BY_CROSS_ENTROPY) -> float:
    """Return the largest masking gap that is expected of a sound net, in [0, 1].

    An attack misses a share of the images that can be fooled, whatever their number. So the limit
    grows with what the stronger attack fools; no number of points fits all nets.

    Args:
      natural: accuracy without an attack.
      strong: accuracy under the stronger attack.
      missed: the share that the weaker attack may miss: `MISSED_BY_CROSS_ENTROPY` or
        `MISSED_BY_MARGIN`.
    """
    return max(_SMALLEST_GAP_LIMIT, missed * (natural - strong))


def expected_miss(confidence: float) -> float:
    """Return which share of what can be fooled PGD on the cross-entropy may miss on a sound net.

    Where a net doubts, the gradient of the cross-entropy mixes all wrong classes; so smoothed
    labels, MART and averaged weights make it weak, though nothing is masked. No more than that
    decides it: with natural accuracy, classes, smoothing and averaging the prediction is no better
    (docs/judging.md).

    Args:
      confidence: mean of the largest probability over images without an attack, in [0, 1].
    """
    return _MISSED_BY_SURE_NETS + _MISSED_BY_DOUBT * (1 - confidence) + _SLACK


def smallest_visible_share(limit: float, n: int) -> float:
    """Return the smallest share of `n` images whose interval lies above a limit as a whole.

    It is what so many images can show: a smaller share cannot be told from the limit. It is 1 if
    not even all images suffice.
    """
    return next((k / n for k in range(1, n + 1) if wilson(k / n, n)[0] > limit), 1.0)


def error_of_interval(low: float, high: float) -> float:
    """Return the standard error of a figure with the 95 % interval from `low` to `high`.

    That is its width divided by 3.92, twice the normal quantile 1.96.
    """
    return (high - low) / 3.92
