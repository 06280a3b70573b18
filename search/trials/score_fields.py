"""A score under the names that a trial's result has for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adv import Score
from adv.intervals import wilson
from search.record.trial_result import Interval
from spaces import OBJECTIVES


def objectives_of(score: Score) -> dict[str, float]:
    """Return both objectives of a score, under the names of `spaces.OBJECTIVES`."""
    return {"natural_accuracy": score.natural_accuracy, "attacked_score": score.attacked_score}


def intervals_of(score: Score, names: Iterable[str] = OBJECTIVES) -> dict[str, Interval]:
    """Return the 95 % intervals of both usual objectives, and of the shares among `names`."""
    found = {
        "natural_accuracy": score.natural_interval,
        "attacked_score": score.attacked_interval,
    }
    shares = {"worst_case": score.worst, "robust_area": score.area}
    asked = {name: wilson(shares[name], score.images) for name in names if name in shares}
    return {**found, **asked}


def score_fields(score: Score) -> dict[str, Any]:
    """Return the fields of `ResultDetails` that a score determines."""
    return {
        "curve": [list(row) for row in score.curve],
        "mean": score.mean,
        "worst": score.worst,
        "aurc": score.area,
        "images": score.images,
        "votes": score.votes,
        "draws": score.draws,
        "random": score.votes > 1,
        "table": score.to_dict(),
    }
