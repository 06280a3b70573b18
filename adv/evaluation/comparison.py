"""Compare two nets image by image: paired differences of their scores, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from adv.evaluation.score import Interval, Score
from adv.intervals import mcnemar, paired_interval

NATURAL = "no attack"
WORST = "worst case"
AGGREGATE = "attacked score"


@dataclass(frozen=True)
class PairedDifference:
    """How far a second net is ahead of a first one in one figure, on the same images.

    Args:
      name: of the attack; or "no attack", "worst case" over all attacks, "attacked score".
      eps: radius of the attack; None for a figure over several.
      first: figure of the first net; accuracies in [0, 1], the attacked score in percent points.
      second: figure of the second net.
      interval: the 95 % interval of `second - first` (Bonett and Price 2012).
      won: images on which only the second net is right; None for the attacked score.
      lost: images on which only the first net is right; None for the attacked score.
    """

    name: str
    eps: float | None
    first: float
    second: float
    interval: Interval
    won: int | None = None
    lost: int | None = None

    @property
    def difference(self) -> float:
        """The figure of the second net minus that of the first."""
        return self.second - self.first

    @property
    def told_apart(self) -> bool:
        """True if the interval excludes zero."""
        return self.interval[0] > 0 or self.interval[1] < 0

    @property
    def p_value(self) -> float | None:
        """McNemar's exact p-value that both are right equally often; None for a sum of attacks."""
        if self.won is None or self.lost is None:
            return None
        return mcnemar(self.won, self.lost)


def compare(first: Score, second: Score) -> tuple[PairedDifference, ...]:
    """Return how far the second net is ahead of the first in each figure, image by image.

    The intervals are over the choice of the images, and hold for these two nets: other seeds of the
    same recipes would give other nets.

    Args:
      first: of `evaluate`, on some images under some battery.
      second: of another net on the same images under the same battery.

    Returns:
      A row without an attack, one for each attack, smallest radius first, and of several attacks
      the worst case and the aggregated attacked score.

    Raises:
      ValueError: the images or the attacks differ.
    """
    if (first.names, first.eps) != (second.names, second.eps):
        raise ValueError("two scores under different batteries cannot be compared")
    if first.images != second.images:
        raise ValueError(
            f"scores on {first.images} and on {second.images} images cannot be compared"
        )
    ok = torch.stack([first.ok.cpu(), second.ok.cpu()])
    rows = [_of_verdicts(NATURAL, 0.0, *ok[:, 0])]
    rows += [_of_verdicts(first.names[i], first.eps[i], *ok[:, 1 + i]) for i in first.order]
    if len(first.names) > 1:
        rows += [_of_verdicts(WORST, None, *ok.all(1)), _of_sums(*ok[:, 1:])]
    return tuple(rows)


def _of_verdicts(name: str, eps: float | None, a: Tensor, b: Tensor) -> PairedDifference:
    """Compare two rows of verdicts, [n] booleans."""
    won, lost = int((b & ~a).sum()), int((a & ~b).sum())
    interval = paired_interval(won - lost, won + lost, len(a))
    first, second = (float(row.double().mean()) for row in (a, b))
    return PairedDifference(name, eps, first, second, interval, won, lost)


def _of_sums(a: Tensor, b: Tensor) -> PairedDifference:
    """Compare the attacked scores of two tables of verdicts, [attacks, n] booleans."""
    attacks, n = a.shape
    apart = (b.long() - a.long()).sum(0)
    low, high = paired_interval(
        int(apart.sum()),
        int((apart**2).sum()),
        n,
        differing=int((apart != 0).sum()),
        largest=float(attacks),
    )
    first, second = (100 * float(table.sum()) / n for table in (a, b))
    return PairedDifference(AGGREGATE, None, first, second, (100 * low, 100 * high))
