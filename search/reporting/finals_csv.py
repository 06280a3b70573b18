"""The finals as rows: `finalists.csv`, a row a trial, and `finals.csv`, a row a training."""

from __future__ import annotations

import math
from typing import Any

from search.finals.finalist import Finalist
from search.finals.standings import compute_standings
from search.record.trial import Trial
from search.record.view import View
from spaces import OBJECTIVES

Row = dict[str, Any]
_ENDS = ("", "_low", "_high")
_OTHERS = ("worst", "search", "again", "claimed")
FINALISTS = (
    "trial",
    "on_front",
    "p_on_front",
    "seeds",
    *(f"{name}{end}" for name in OBJECTIVES for end in _ENDS),
    *(f"{kind}_{name}" for kind in _OTHERS for name in OBJECTIVES),
    *(f"masking_gap{end}" for end in _ENDS),
    "flagged",
)
FINALS = ("final", "trial", "state", "seed", *OBJECTIVES, "best_epoch", "seconds", "weights",
          "reason")  # fmt: skip


def finalist_rows(view: View) -> list[Row]:
    """A row for each finalist under the names of `FINALISTS`; what is not known is None.

    `worst` is the seed with the lowest attacked score, `search` what chose the trial, `again` the
    mean of fresh seeds where the search measured, `claimed` under its battery on the test images.
    """
    return [_finalist(f) for f in compute_standings(view)]


def final_rows(view: View) -> list[Row]:
    """A row for each training of the finals, under the names of `FINALS`."""
    runs = view.finals.trials if view.finals else {}
    return [_final(run) for _, run in sorted(runs.items())]


def _finalist(f: Finalist) -> Row:
    row: Row = dict.fromkeys(FINALISTS)
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
            row |= {f"{kind}_{name}": v for name, v in zip(OBJECTIVES, pair, strict=True)}
    if not math.isnan(f.p_front):
        row |= {"on_front": f.on_front, "p_on_front": round(f.p_front, 4)}
        for name, mean, (low, high) in zip(OBJECTIVES, f.mean, f.intervals, strict=True):
            row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    if f.gap:
        value, (low, high) = f.gap
        row |= {"masking_gap": value, "masking_gap_low": low, "masking_gap_high": high}
        row["flagged"] = f.flagged
    return row


def _final(run: Trial) -> Row:
    row: Row = dict.fromkeys(FINALS)
    row |= {"final": run.number, "trial": int(run.origin), "state": run.state, "seed": run.seed}
    row |= {"seconds": round(run.seconds, 3), "reason": run.reason}
    if run.result:
        row |= run.result.objectives
        details = run.result.details
        row |= {"best_epoch": details.best_epoch, "weights": details.weights}
    return row
