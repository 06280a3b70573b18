"""What a check found: a figure with its interval, a limit with its reason, a plain sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from adv.intervals import Z95, wilson

Interval = tuple[float, float]
Unit = Literal["%", "points", ""]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check of an audit.

    Larger is worse: a check passes unless the whole interval of its figure lies above the limit,
    so that images which happened to be drawn do not fail a net.

    Args:
      name: what was checked.
      figure: what was found; shares and differences of shares in [-1, 1].
      limit: the most that passes.
      interval: at 95 % where the figure is a statistic, else the figure twice.
      unit: "%" a share, "points" a difference of shares, "" a number of things.
      reason: why the limit is where it is.
      seen: a sentence that says what was measured.
      meaning: a sentence that says what it means if the check fails.
    """

    name: str
    figure: float
    limit: float
    interval: Interval
    unit: Unit
    reason: str
    seen: str
    meaning: str

    @property
    def passed(self) -> bool:
        """Whether the interval reaches down to the limit; a figure that is no number fails."""
        return self.interval[0] <= self.limit

    @property
    def sentence(self) -> str:
        """What was measured, and where the check failed what that means."""
        return self.seen if self.passed else f"{self.seen} {self.meaning}"

    def shown(self, value: float) -> str:
        """A value in the unit of this finding."""
        if not self.unit:
            return f"{value:g}"
        return f"{100 * value:.{1 if abs(value) >= 0.001 or not value else 2}f} {self.unit}"


def verdict(findings: Sequence[Finding]) -> str:
    """One paragraph on all findings: names each check that failed, explains the first of them."""
    failed = [finding for finding in findings if not finding.passed]
    if not failed:
        return f"Nothing speaks against this score: all {len(findings)} checks passed."
    named = ", ".join(f"{f.name} ({f.shown(f.figure)})" for f in failed)
    return (
        f"Do not trust this score: {len(failed)} of {len(findings)} checks failed: {named}. "
        f"{failed[0].meaning}"
    )


def exact(figure: float) -> Interval:
    """The interval of a figure that no draw of images decides."""
    return figure, figure


def share(hits: Tensor, n: int | None = None) -> tuple[float, Interval]:
    """The share of true ones in `hits`, of `n` images (all of them), with Wilson's interval."""
    n = len(hits) if n is None else n
    found = int(hits.sum()) / n
    return found, wilson(found, n)


def difference(more: Tensor, less: Tensor) -> tuple[float, Interval]:
    """Share of `more` minus share of `less`, [n] booleans on the same images, with its interval.

    The interval counts the images on which the two disagree, and one more of each kind, so that
    it has a width even where they agree everywhere (Bonett and Price 2012).
    """
    n = len(more)
    up, down = int((more & ~less).sum()), int((less & ~more).sum())
    first, second = (up + 1) / (n + 2), (down + 1) / (n + 2)
    middle = first - second
    half = Z95 * math.sqrt((first + second - middle**2) / (n + 2))
    figure = (up - down) / n
    return figure, (min(figure, middle - half), max(figure, middle + half))


def mean(values: Tensor) -> tuple[float, Interval]:
    """The mean of [n] values with the normal interval."""
    centre = float(values.double().mean())
    half = Z95 * float(values.double().std(correction=0)) / math.sqrt(len(values))
    return centre, (centre - half, centre + half)
