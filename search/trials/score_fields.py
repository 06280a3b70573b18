"""A score under the names that a trial's result has for it."""

from __future__ import annotations

from typing import Any

from adv import Score
from search.record.trial_result import Interval


def objectives_of(score: Score) -> dict[str, float]:
    """Return both objectives of a score, under the names of `spaces.OBJECTIVES`."""
    return {"natural_accuracy": score.natural_accuracy, "attacked_score": score.attacked_score}


def intervals_of(score: Score) -> dict[str, Interval]:
    """Return the 95 % intervals of both objectives, under the names of `spaces.OBJECTIVES`."""
    return {
        "natural_accuracy": score.natural_interval,
        "attacked_score": score.attacked_interval,
    }


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
