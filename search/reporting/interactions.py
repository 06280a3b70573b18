"""Which hyperparameters change each other's effect on an objective, as far as noise lets one tell.

Two hyperparameters interact where their product explains ranks of the objective that both alone,
bent ones included, do not: the last term of a least-squares fit on 1, a, b, a^2, b^2, ab.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np

from search.record.view import View
from search.reporting.effects import Floats, knob_columns, mean_ranks, shown_figures

MIN_TRIALS = 20  # that have both hyperparameters


@dataclass(frozen=True)
class Interaction:
    """How one hyperparameter changes the effect of another.

    Args:
      first: label of a hyperparameter; of a choice, with its option.
      second: label of the other one.
      objective: name of the figure.
      value: partial correlation of the product and the ranks of the figure, in [-1, 1]: above 0 the
        figure rises more with one hyperparameter where the other one is large.
      interval: of `value`; those of all pairs hold together at 95 % (Bonferroni).
      trials: that have both.
    """

    first: str
    second: str
    objective: str
    value: float
    interval: tuple[float, float]
    trials: int


def find_interactions(view: View) -> tuple[list[Interaction], int]:
    """Return the interactions whose interval excludes zero, strongest first, and how many pairs
    and objectives were tested.
    """
    tests = list(_collect_tests(view))
    z = NormalDist().inv_cdf(1 - 0.025 / max(1, len(tests)))
    found = []
    for labels, objective, a, b, figures in tests:
        rho = _partial_correlation(a, b, figures)
        if rho is None:
            continue
        half = z / math.sqrt(len(figures) - 7)
        centre = math.atanh(min(0.999, max(-0.999, rho)))
        low, high = math.tanh(centre - half), math.tanh(centre + half)
        if low > 0 or high < 0:
            found.append(Interaction(*labels, objective, rho, (low, high), len(figures)))
    return sorted(found, key=lambda one: -abs(one.value)), len(tests)


_Test = tuple[tuple[str, str], str, Floats, Floats, Floats]


def _collect_tests(view: View) -> Iterator[_Test]:
    done = view.scored()
    for one, other in combinations(view.header.knobs, 2):
        having = [t for t in done if one in t.params and other in t.params]
        if len(having) < MIN_TRIALS:
            continue
        for objective in view.header.aims:
            figures = shown_figures(having, objective)
            for first, a in knob_columns(view, one, having):
                for second, b in knob_columns(view, other, having):
                    labels = _label(one, first), _label(other, second)
                    yield labels, objective, _scale(a), _scale(b), mean_ranks(figures)


def _label(knob: str, option: str) -> str:
    return f"{knob} = {option}" if option else knob


def _scale(column: Floats) -> Floats:
    """Return ranks in [-1, 1], so that a logarithm or an outlier changes nothing."""
    ranks = mean_ranks(column)
    return 2 * (ranks - ranks.min()) / (np.ptp(ranks) or 1.0) - 1


def _partial_correlation(a: Floats, b: Floats, figures: Floats) -> float | None:
    """Return the correlation of ab and the figures that a and b leave; None if there is none."""
    alone = np.stack([np.ones_like(a), a, b, a * a, b * b], axis=1)
    left = np.stack([a * b, figures], axis=1)
    left = left - alone @ np.linalg.lstsq(alone, left, rcond=None)[0]
    spread = left.std(axis=0)
    if (spread < 1e-9 * np.array([1.0, len(figures)])).any():
        return None
    return float((left[:, 0] * left[:, 1]).mean() / spread.prod())
