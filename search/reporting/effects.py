"""In which direction each hyperparameter moves each objective, as far as it can be told from noise.

A number is judged by Spearman's rank correlation with the objective, a choice by the difference
between the trials with one option and all others (Welch). A conditional hyperparameter is judged
among the trials that have it. The intervals hold together, for the whole table, at 95 %
(Bonferroni). They describe the trials of the search: a sampler does not choose at random, so an
effect may be that of another hyperparameter that it chose along.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from search.record.trial import Trial
from search.record.view import View
from spaces import find_objective

MIN_TRIALS = 6  # that have the hyperparameter
MAX_OPTIONS = 8  # of a choice; of more, only the most frequent
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """The effect of a hyperparameter on an objective.

    Args:
      knob: name of the hyperparameter.
      option: of a choice, the option that is compared with all others; "" for a number.
      objective: name of the figure.
      value: Spearman's rank correlation of the hyperparameter and the figure, or the difference of
        the figure between the option and the others, in the unit in which it is shown.
      interval: of `value`.
      trials: that have the hyperparameter.
    """

    knob: str
    option: str
    objective: str
    value: float
    interval: tuple[float, float]
    trials: int

    @property
    def told(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval[0] > 0 or self.interval[1] < 0


def find_effects(view: View) -> list[Effect]:
    """Return the effect of each hyperparameter on each objective; none with too few trials."""
    tests = list(_collect_tests(view))
    if not tests:
        return []
    z = NormalDist().inv_cdf(1 - 0.025 / len(tests))
    return [effect for test in tests if (effect := _measure(*test, z)) is not None]


_Test = tuple[str, str, str, Floats, Floats]


def _collect_tests(view: View) -> Iterator[_Test]:
    """Yield knob, option, objective, and for each trial that has the knob its value and figure."""
    done = view.scored()
    for knob in view.header.knobs:
        having = [t for t in done if knob in t.params]
        if len(having) < MIN_TRIALS:
            continue
        for objective in view.header.aims:
            figures = shown_figures(having, objective)
            if np.ptp(figures) == 0:
                continue
            for option, column in knob_columns(view, knob, having):
                yield knob, option, objective, column, figures


def knob_columns(view: View, knob: str, trials: Sequence[Trial]) -> list[tuple[str, Floats]]:
    """Return a hyperparameter as columns of numbers, a choice as one of 0 and 1 for each option.

    Columns with one value are left out; of a choice of two options, one column says it all.
    """
    values = [trial.params[knob] for trial in trials]
    head = view.header.knobs[knob]
    if head.get("kind") != "Choice":
        column = np.array(values, dtype=float)
        return [("", column)] if np.ptp(column) > 0 else []
    counts = {str(value): 0 for value in values}
    for value in values:
        counts[str(value)] += 1
    options = sorted(counts, key=lambda option: -counts[option])[:MAX_OPTIONS]
    options = options[-1:] if len(counts) == 2 else options
    columns = [(o, np.array([str(value) == o for value in values], dtype=float)) for o in options]
    return [(option, column) for option, column in columns if np.ptp(column) > 0]


def shown_figures(trials: Sequence[Trial], objective: str) -> Floats:
    """Return an objective of trials with results, in the unit in which it is shown."""
    unit = find_objective(objective).shown
    return np.array([unit * t.result.objectives[objective] for t in trials if t.result])


def _measure(
    knob: str, option: str, objective: str, column: Floats, figures: Floats, z: float
) -> Effect | None:
    effect = Effect(knob, option, objective, 0.0, (0.0, 0.0), len(column))
    if option:
        return _compare(effect, figures[column == 1], figures[column == 0], z)
    rho = float(np.corrcoef(mean_ranks(column), mean_ranks(figures))[0, 1])
    bounded = min(0.999, max(-0.999, rho))
    half = z * 1.03 / math.sqrt(len(column) - 3)  # Fieller, Hartley and Pearson 1957
    low, high = (math.tanh(math.atanh(bounded) + sign * half) for sign in (-1, 1))
    return replace(effect, value=rho, interval=(low, high))


def _compare(effect: Effect, some: Floats, others: Floats, z: float) -> Effect | None:
    """Return the difference of two means with Welch's interval; None if a mean has one value."""
    if min(len(some), len(others)) < 2:
        return None
    from scipy.stats import t

    parts = [a.var(ddof=1) / len(a) for a in (some, others)]
    error = math.sqrt(sum(parts))
    if error == 0:
        return None
    freedom = sum(parts) ** 2 / sum(
        p**2 / (len(a) - 1) for p, a in zip(parts, (some, others), strict=True)
    )
    half = float(t.ppf(NormalDist().cdf(z), freedom)) * error
    by = float(some.mean() - others.mean())
    return replace(effect, value=by, interval=(by - half, by + half))


def mean_ranks(values: Floats) -> Floats:
    """Return ranks from 1; equal values share the mean of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[which], dtype=float)
