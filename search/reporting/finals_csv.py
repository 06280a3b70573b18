"""The finals as CSV rows: `finalists.csv`, one a finalist, and `finals.csv`, one a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from search.finals.finalist import Finalist
from search.record.trial import Trial
from search.record.view import View
from spaces import OBJECTIVES, find_objective

Row = dict[str, Any]
_ENDS = ("", "_low", "_high")
_OTHERS = ("worst", "search", "again", "claimed")


def finalist_columns(aims: Sequence[str] = OBJECTIVES) -> list[str]:
    """Return the columns of `finalists.csv`.

    Args:
      aims: the two objectives of the search.
    """
    return [
        *("trial", "on_front", "p_on_front", "seeds"),
        *(f"{name}{end}" for name in aims for end in _ENDS),
        *(f"{kind}_{name}" for kind in _OTHERS for name in aims),
        *(f"masking_gap{end}" for end in _ENDS),
        "flagged",
    ]


FINALISTS = tuple(finalist_columns())
FINALS = (
    "final",
    "trial",
    "state",
    "seed",
    *OBJECTIVES,
    "best_epoch",
    "seconds",
    "weights",
    "reason",
)


def finalist_rows(finalists: Sequence[Finalist]) -> list[Row]:
    """Return a row for each finalist under the names of `finalist_columns`; the unknown is None.

    Besides the means, each objective has columns `worst_*` (of the seed with the lowest attacked
    score), `search_*` (of the training that selected the trial), `again_*` (mean of fresh seeds on
    the search's images) and `claimed_*` (mean of fresh seeds on test images under the search's
    battery).
    """
    return [_finalist_row(f) for f in finalists]


def training_rows(view: View) -> list[Row]:
    """Return a row for each training of the finals, under the names of `FINALS`.

    A training with other versions than the run began with has them under `changed`.
    """
    runs = view.finals.trials if view.finals else {}
    return [_training_row(run) for _, run in sorted(runs.items())]


def _finalist_row(f: Finalist) -> Row:
    row: Row = dict.fromkeys(finalist_columns(f.aims))
    row |= {"trial": f.trial.number, "seeds": len(f.runs)}
    worst = f.worst
    pairs = {
        "worst": worst.result.point if worst and worst.result else None,
        "search": f.trial.result.point if f.trial.result else None,
        "again": f.validation_mean,
        "claimed": f.claimed_mean,
    }
    for kind, pair in pairs.items():
        if pair is not None:
            signs = [find_objective(name).sign for name in f.aims]
            names = [f"{kind}_{name}" for name in f.aims]
            row |= {n: sign * v for n, sign, v in zip(names, signs, pair, strict=True)}
    if not math.isnan(f.p_front):
        row |= {"on_front": f.on_front, "p_on_front": round(f.p_front, 4)}
        for name, mean, interval in zip(f.aims, f.mean, f.intervals, strict=True):
            sign = find_objective(name).sign
            low, high = sorted(sign * end for end in interval)
            row |= {name: sign * mean, f"{name}_low": low, f"{name}_high": high}
    if f.gap:
        value, (low, high) = f.gap
        row |= {"masking_gap": value, "masking_gap_low": low, "masking_gap_high": high}
        row["flagged"] = f.flagged
    return row


def _training_row(run: Trial) -> Row:
    row: Row = dict.fromkeys(FINALS)
    row |= {"final": run.number, "trial": int(run.origin), "state": run.state, "seed": run.seed}
    row |= {"seconds": round(run.seconds, 3), "reason": run.reason}
    if run.result:
        row |= {name: run.result.objectives[name] for name in OBJECTIVES}
        details = run.result.details
        row |= {"best_epoch": details.best_epoch, "weights": details.weights}
    return row | ({"changed": run.changes} if run.changed else {})
