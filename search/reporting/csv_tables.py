"""The study as rows and numbers: `trials.csv`, `front.csv` and the hypervolume, for any reader."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from adv.files import write_atomic
from search.record.pareto import front, hypervolume
from search.record.trial import Trial
from search.record.view import View
from search.reporting.finals_csv import FINALISTS, FINALS, final_rows, finalist_rows
from spaces import OBJECTIVES

Row = dict[str, Any]
_BEFORE = ("trial", "state", "seed")
_VALUES = tuple(f"{name}{end}" for name in OBJECTIVES for end in ("", "_low", "_high"))
_GAP = ("masking_gap", "masking_gap_low", "masking_gap_high", "flagged")
_AFTER = ("epochs", "best_epoch", "overfitted", "seconds", "reason")


def write_tables(view: View, folder: Path) -> None:
    """Write `trials.csv` (a row for each trial) and `front.csv` (those on the front) to `folder`.

    Where there are finals, `finalists.csv` and `finals.csv` too (`search.reporting.finals_csv`). Each is
    replaced in one step: a reader sees the old file or the new one, never a part.
    """
    names = columns(view)
    write_atomic(folder / "trials.csv", _csv(names, rows(view)))
    write_atomic(folder / "front.csv", _csv(names, (row(view, trial) for trial in view.front())))
    if view.finals:
        write_atomic(folder / "finalists.csv", _csv(list(FINALISTS), finalist_rows(view)))
        write_atomic(folder / "finals.csv", _csv(list(FINALS), final_rows(view)))


def columns(view: View) -> list[str]:
    """The columns of both tables: the trial, its knobs, its objectives with intervals, its run.

    A knob whose name is taken, such as `epochs`, is called `knob_epochs`.
    """
    return [
        *_BEFORE,
        *(_column(name) for name in view.header.knobs),
        *_VALUES,
        *_GAP,
        *_AFTER,
    ]


def rows(view: View) -> list[Row]:
    """A row for each trial, by number."""
    return [row(view, trial) for _, trial in sorted(view.trials.items())]


def row(view: View, trial: Trial) -> Row:
    """The trial under the names of `columns`; what it does not have is None."""
    made: Row = dict.fromkeys(columns(view))
    made |= {"trial": trial.number, "state": trial.state, "seed": trial.seed}
    made |= {_column(name): value for name, value in trial.params.items()}
    made |= {"epochs": len(trial.epochs), "seconds": round(trial.seconds, 3)}
    made |= {"overfitted": len(trial.overfitted), "reason": trial.reason}
    if trial.result:
        for name in OBJECTIVES:
            low, high = trial.result.intervals.get(name, (None, None))
            made |= {name: trial.result.objectives[name], f"{name}_low": low, f"{name}_high": high}
        made |= gap_of(trial)
        made["best_epoch"] = trial.result.details.best_epoch
    return made


def gap_of(trial: Trial) -> Row:
    """The masking gap with its interval, and whether it is flagged; {} where it is not known."""
    gap = trial.result.details.masking_gap if trial.result else None
    if gap is None:
        return {}
    return dict(zip(_GAP, (gap.gap, *gap.interval, gap.flagged), strict=True))


def hypervolumes(view: View) -> list[float]:
    """The share of the unit square under the front, after each finished trial in order of ending.

    One is a perfect net: all images right, natural and under each attack of the battery.
    """
    every = view.in_state("finished")
    kept = [trial for trial in every if view.feasible(trial)] or every
    done = sorted(kept, key=lambda trial: trial.ended)
    full = 100.0 * max(1, len(view.header.battery))
    best: list[tuple[float, float]] = []
    area: list[float] = []
    for natural, attacked in (trial.result.point for trial in done if trial.result):
        best.append((natural, attacked / full))
        best = [point for point, on in zip(best, front(best), strict=True) if on]
        area.append(hypervolume(best, (0.0, 0.0)))
    return area


def _column(knob: str) -> str:
    return f"knob_{knob}" if knob in {*_BEFORE, *_VALUES, *_GAP, *_AFTER} else knob


def _csv(names: list[str], content: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(content)
    return text.getvalue()
