"""Sentences on what the numbers of the finals mean, for the terminal and the HTML report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from scipy.special import stdtrit

from search.finals.finalist import Finalist
from search.formatting import count
from search.record.view import View
from search.reporting.front_table import describe_marks
from spaces import find_objective


def describe_finals(view: View, finalists: Sequence[Finalist]) -> list[str]:
    """Return sentences on the reported front, the means, the selection bias, and what is missing.

    Args:
      view: of the search.
      finalists: from `compute_standings`, the known ones.
    """
    assert view.finals is not None
    head = view.finals_header
    failed = len(view.finals.in_state("failed"))
    lines = [
        _describe_front(finalists),
        "Means and 95 % intervals are over fresh seeds and test images, excluding the run that "
        "selected the trial.",
        f"{head.attacks}.",
    ]
    if bias := describe_selection_bias(finalists):
        lines.insert(2, bias)
    if guessed := [f.trial.number for f in finalists if not f.runs]:
        plural = "s" * (len(guessed) > 1)
        lines.append(
            f"Trial{plural} {', '.join(map(str, guessed))} without a fresh seed: estimated from "
            "one training, as if it had been partly luck."
        )
    if failed:
        lines.append(f"{count(failed, 'training')} failed.")
    if why := describe_marks(list(view.finals.trials.values()), view.header):
        lines.append(why.replace("~ trained", "Trainings were trained", 1))
    missing = [n for n in head.trials if n not in {f.trial.number for f in finalists if f.runs}]
    if missing:
        plural = "s" * (len(missing) > 1)
        lines.append(f"Not yet trained again: trial{plural} {', '.join(map(str, missing))}.")
    return lines


def _describe_front(finalists: Sequence[Finalist]) -> str:
    """Return which trials are reported as the front, and how certain that is."""
    front = [f for f in finalists if f.on_front]
    names = ", ".join(str(f.trial.number) for f in front)
    expected = sum(f.p_front for f in front)
    return (
        f"The front is trial{'s' * (len(front) > 1)} {names}: the set that is "
        "expected to agree best with the front of all trials (F score); "
        f"{expected:.1f} of {len(front)} are expected to be on it."
    )


def describe_selection_bias(finalists: Sequence[Finalist]) -> str:
    """Return how much lower fresh seeds score than the runs that selected the finalists, or "".

    A difference is named only where its 95 % interval, Student's over the finalists, excludes zero.
    """
    pairs = [
        (f.trial.result.point[f.judged], f.validation_mean[f.judged])
        for f in finalists
        if f.trial.result and f.validation_mean
    ]
    if not pairs:
        return ""
    objective = find_objective(finalists[0].aims[finalists[0].judged])
    drops = [objective.shown * (before - after) for before, after in pairs]
    low, high = mean_interval(drops)
    where = f"{objective.title} of fresh seeds, on the images and battery of the search,"
    than = f"than in the runs that selected {count(len(drops), 'finalist')}"
    if low > 0:
        found = f"{fmean(drops):.1f} lower ({low:.1f} to {high:.1f})"
        return f"Winner's curse: {where} is {found} {than}."
    if high < 0:
        found = f"{-fmean(drops):.1f} higher ({-high:.1f} to {-low:.1f})"
        return f"No winner's curse: {where} is {found} {than}."
    if len(drops) < 2:
        return "A winner's curse cannot be told from 1 finalist."
    found = f"{-fmean(drops):+.1f} ({-high:+.1f} to {-low:+.1f})"
    return (
        f"A winner's curse cannot be told: {where} differs by {found} from the runs that selected "
        f"{count(len(drops), 'finalist')}."
    )


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean of values; infinite for fewer than two."""
    if len(values) < 2:
        return -math.inf, math.inf
    half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / len(values) ** 0.5
    return fmean(values) - half, fmean(values) + half
