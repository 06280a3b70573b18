"""The result of one check: a figure with its interval, a limit, and plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from adv.intervals import Z95, paired_interval, wilson

Interval = tuple[float, float]
Unit = Literal["%", "points", ""]


@dataclass(frozen=True)
class Finding:
    """The result of one check of an audit.

    Larger figures are worse. A check passes unless the whole interval of its figure lies above the
    limit, so that chance in the choice of images does not fail a net.

    Args:
      name: what was checked.
      figure: the measured figure; shares and differences of shares lie in [-1, 1].
      limit: the largest figure that passes.
      interval: the 95 % interval if the figure is a statistic, else the figure twice.
      unit: "%" for a share, "points" for a difference of shares, "" for a count.
      reason: why the limit is where it is.
      observation: a sentence that says what was measured.
      meaning: a sentence that says what it means if the check fails.
    """

    name: str
    figure: float
    limit: float
    interval: Interval
    unit: Unit
    reason: str
    observation: str
    meaning: str

    @property
    def passed(self) -> bool:
        """True if the check passed: the interval reaches down to the limit. NaN fails."""
        return self.interval[0] <= self.limit

    @property
    def sentence(self) -> str:
        """The observation, followed by its meaning if the check failed."""
        return self.observation if self.passed else f"{self.observation} {self.meaning}"

    def format_value(self, value: float) -> str:
        """Return a value as text, in the unit of this finding."""
        if not self.unit:
            return f"{value:g}"
        return f"{100 * value:.{1 if abs(value) >= 0.001 or not value else 2}f} {self.unit}"


def verdict(findings: Sequence[Finding]) -> str:
    """Return a paragraph on all findings: the failed checks, and what the first one means."""
    failed = [finding for finding in findings if not finding.passed]
    if not failed:
        return f"No check speaks against this score: all {len(findings)} passed."
    named = ", ".join(f"{f.name} ({f.format_value(f.figure)})" for f in failed)
    return (
        f"Do not trust this score: {len(failed)} of {len(findings)} checks failed: {named}. "
        f"{failed[0].meaning}"
    )


def exact_interval(figure: float) -> Interval:
    """Return the interval of a figure without sampling error."""
    return figure, figure


def share_with_interval(hits: Tensor, n: int | None = None) -> tuple[float, Interval]:
    """Return the share of true elements of `hits` among `n` images, with its Wilson interval.

    `n` is the length of `hits` by default.
    """
    n = len(hits) if n is None else n
    found = int(hits.sum()) / n
    return found, wilson(found, n)


def paired_difference(more: Tensor, less: Tensor) -> tuple[float, Interval]:
    """Return the share of `more` minus the share of `less`, [n] booleans on the same images.

    The interval counts the images on which the two disagree, plus one in each direction, so that it
    has a width even if they always agree (Bonett and Price 2012).
    """
    n = len(more)
    up, down = int((more & ~less).sum()), int((less & ~more).sum())
    return (up - down) / n, paired_interval(up - down, up + down, n)


def mean_with_interval(values: Tensor) -> tuple[float, Interval]:
    """Return the mean of values [n] with its normal 95 % interval."""
    centre = float(values.double().mean())
    half = Z95 * float(values.double().std(correction=0)) / math.sqrt(len(values))
    return centre, (centre - half, centre + half)
