"""What the finals' numbers mean, in sentences, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.finals.finalist import Finalist
from search.finals.selection import MIN_SHARE
from search.record.view import View


def remarks(view: View, field: Sequence[Finalist]) -> list[str]:
    """How many trainings, what a mean is, what the choice had flattered, what is not known.

    Args:
      view: of the search.
      field: what `standing` says, those with fresh values.
    """
    assert view.finals is not None
    head = view.finals_header
    runs, failed = sum(len(f.runs) for f in field), len(view.finals.in_state("failed"))
    said = [
        f"{runs} trainings with fresh seeds, {head.images} test images. {_reported(field)}",
        "Means and 95 % intervals are over fresh seeds and test images; the training that chose a "
        "trial is in none of them.",
        f"{head.attacks}.",
    ]
    if curse := flattery(field):
        said.insert(2, curse)
    if failed:
        said.append(f"{failed} trainings failed.")
    missing = [n for n in head.trials if n not in {f.trial.number for f in field}]
    if missing:
        plural = "s" * (len(missing) > 1)
        said.append(f"Not yet trained again: trial{plural} {', '.join(map(str, missing))}.")
    return said


def _reported(field: Sequence[Finalist]) -> str:
    """Who is reported, and how far that is to be believed."""
    front = [f for f in field if f.on_front]
    names = ", ".join(str(f.trial.number) for f in front)
    if len(front) == 1 and front[0].p_front < MIN_SHARE:
        return (
            f"The reported front (*) is trial {names}, the likeliest, though it is on the front of "
            f"all trials with probability {front[0].p_front:.2f} only: more trainings would tell."
        )
    return (
        f"The reported front (*) is trial{'s' * (len(front) > 1)} {names}: as many as can be while "
        f"{MIN_SHARE:.0%} of them are expected to be on the front of all trials."
    )


def flattery(field: Sequence[Finalist]) -> str:
    """The winner's curse in a sentence: search score less that of fresh seeds, same images."""
    pairs = [
        (f.trial.result.point[1], f.validation_mean[1])
        for f in field
        if f.trial.result and f.validation_mean
    ]
    if not pairs:
        return ""
    drop = float(np.mean([before - after for before, after in pairs]))
    if drop <= 0:
        return (
            f"No winner's curse here: on the same images under the same battery, fresh seeds "
            f"score {-drop:.1f} higher than the trainings that chose the {len(pairs)} finalists."
        )
    return (
        f"Winner's curse: on the same images under the same battery, fresh seeds score {drop:.1f} "
        f"lower than the trainings that chose the {len(pairs)} finalists."
    )
