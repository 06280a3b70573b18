"""The run as CSV tables, `trials.csv` and `front.csv`, and its hypervolume."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adv.files import write_atomic
from search.finals.finalist import Finalist
from search.finals.standings import compute_standings
from search.outcome.front import find_front
from search.outcome.marks import find_marks, list_marks
from search.outcome.roles import assign_roles
from search.record.pareto import front, hypervolume
from search.record.trial import Trial
from search.record.view import View
from search.reporting.csv_cells import escape_cell
from search.reporting.finals_csv import FINALS, finalist_columns, finalist_rows, training_rows
from search.reporting.front_csv import ADDED, front_columns, front_row
from spaces import FIRST_SCORE, OBJECTIVES

Row = dict[str, Any]
_BEFORE = ("trial", "state", "seed")
_VALUES = tuple(f"{name}{end}" for name in OBJECTIVES for end in ("", "_low", "_high"))
_GAP = ("masking_gap", "masking_gap_low", "masking_gap_high", "flagged")
_FRONT = ("on_front", "on_search_front", "marks")
_AFTER = ("epochs", "best_epoch", "overfitted", "seconds", "reason")
_SCORE, _CHANGED = "score", "changed"
_TAKEN = {*_BEFORE, *_VALUES, _SCORE, *_GAP, *_FRONT, *_AFTER, *ADDED, _CHANGED}


def write_tables(view: View, folder: Path, finalists: Sequence[Finalist] | None = None) -> None:
    """Write `trials.csv` (a row for each trial) and `front.csv` (the front of the run) to `folder`.

    If there are finals, also `finalists.csv` and `finals.csv` (`search.reporting.finals_csv`). Each
    file is replaced in one step, so that a reader never sees part of one.

    Args:
      view: of the search.
      folder: of the run.
      finalists: from `compute_standings`; None computes them.
    """
    standings = compute_standings(view) if finalists is None else finalists
    names = column_names(view)
    write_atomic(folder / "trials.csv", _csv(names, trial_rows(view, standings)))
    columns = front_columns(names, view.header.aims)
    write_atomic(folder / "front.csv", _csv(columns, front_rows(view, standings)))
    if view.finals:
        rows = finalist_rows(standings)
        write_atomic(folder / "finalists.csv", _csv(finalist_columns(view.header.aims), rows))
        names = [*FINALS, *_changed_column(view.finals)]
        trainings = ({**dict.fromkeys(names), **row} for row in training_rows(view))
        write_atomic(folder / "finals.csv", _csv(names, trainings))


def column_names(view: View) -> list[str]:
    """Return the columns: trial, hyperparameters, objectives with intervals, training.

    A hyperparameter whose name is taken, such as `epochs`, is called `knob_epochs`. If trials were
    trained or scored with other versions than the run began with, the column `changed` names them.
    Where `attacked_score` is not the report score, the column `score` names the one that it is.
    """
    return [
        *_BEFORE,
        *(_column(name) for name in view.header.knobs),
        *_VALUES,
        *_other_figures(view),
        *_GAP,
        *_AFTER,
        *_FRONT,
        *([] if view.header.score == FIRST_SCORE else [_SCORE]),
        *_changed_column(view),
    ]


def _other_figures(view: View) -> list[str]:
    """Return the columns of the figures that the search has named beside the usual ones."""
    named = dict.fromkeys(n for t in view.scored() if t.result for n in t.result.objectives)
    others = [name for name in named if name not in OBJECTIVES]
    return [f"{name}{end}" for name in others for end in ("", "_low", "_high")]


def _changed_column(view: View) -> list[str]:
    return [_CHANGED] if any(trial.changed for trial in view.trials.values()) else []


def trial_rows(view: View, finalists: Sequence[Finalist] | None = None) -> list[Row]:
    """Return a row for each trial, by number, under the names of `column_names`.

    What a trial does not have is None. `on_front` says whether it is on the front of the run,
    `on_search_front` whether the search saw it there; they differ where there are finals.

    Args:
      view: of the search.
      finalists: from `compute_standings`; None computes them.
    """
    standings = compute_standings(view) if finalists is None else finalists
    blank = dict.fromkeys(column_names(view))
    on_front, seen = set(find_front(view, standings).numbers), {t.number for t in view.front()}
    by_number = {finalist.trial.number: finalist for finalist in standings}
    rows = []
    for number, trial in sorted(view.trials.items()):
        marks = find_marks(trial, view.header, by_number.get(number))
        places = {"on_front": number in on_front, "on_search_front": number in seen}
        rows.append({**_row(view, trial, blank), **places, "marks": list_marks(marks)})
    return rows


def front_rows(view: View, finalists: Sequence[Finalist] | None = None) -> list[Row]:
    """Return a row for each net of the front of the run, under the names of `front_columns`."""
    run_front = find_front(view, finalists)
    blank, roles = dict.fromkeys(column_names(view)), assign_roles(view, run_front)
    seen = {trial.number for trial in view.front()}
    return [
        front_row(member, run_front, roles, _row(view, member.net, blank))
        | {"on_search_front": member.number in seen}
        for member in run_front.members
    ]


def _row(view: View, trial: Trial, blank: Row) -> Row:
    row = dict(blank)
    row |= {"trial": trial.number, "state": trial.state, "seed": trial.seed}
    row |= {_column(name): value for name, value in trial.params.items()}
    row |= {"epochs": len(trial.epochs), "seconds": round(trial.seconds, 3)}
    row |= {"overfitted": len(trial.overfitted), "reason": trial.reason}
    row |= {_SCORE: view.header.score} if _SCORE in row else {}
    row |= {_CHANGED: trial.changes} if trial.changed and _CHANGED in row else {}
    if trial.result:
        for name in trial.result.objectives:
            low, high = trial.result.intervals.get(name, (None, None))
            row |= {name: trial.result.objectives[name], f"{name}_low": low, f"{name}_high": high}
        row |= gap_columns(trial)
        row["best_epoch"] = trial.result.details.best_epoch
    return row


def gap_columns(trial: Trial) -> Row:
    """Return the masking gap with its interval and flag, {} if it is unknown."""
    gap = trial.result.details.masking_gap if trial.result else None
    if gap is None:
        return {}
    return dict(zip(_GAP, (gap.gap, *gap.interval, gap.flagged), strict=True))


def hypervolumes(view: View) -> list[float]:
    """Return the hypervolume of the front after each finished trial, in order of ending.

    It is in [0, 1]: the share of the unit square of natural accuracy and mean attacked accuracy. 1
    is a net that classifies all images correctly, natural and under each attack of the battery.
    With other objectives it is relative to the last front, above the worst values of all trials.
    """
    every = view.scored()
    feasible = [trial for trial in every if view.feasible(trial)] or every
    done = sorted(feasible, key=lambda trial: trial.ended)
    if view.header.aims != OBJECTIVES:
        return _relative_hypervolumes([t.result.point for t in done if t.result])
    full = 100.0 * max(1, len(view.header.battery))
    best: list[tuple[float, float]] = []
    area: list[float] = []
    for natural, attacked in (trial.result.point for trial in done if trial.result):
        mean = attacked / full
        if any(a >= natural and b >= mean for a, b in best):  # the front stays as it is
            area.append(area[-1])
            continue
        best.append((natural, mean))
        best = [point for point, on in zip(best, front(best), strict=True) if on]
        area.append(hypervolume(best, (0.0, 0.0)))
    return area


def _relative_hypervolumes(points: list[tuple[float, float]]) -> list[float]:
    """Return the hypervolume after each point as a share of the last, above the worst values."""
    if not points:
        return []
    low = [min(point[m] for point in points) for m in range(2)]
    spread = [max(point[m] for point in points) - low[m] or 1.0 for m in range(2)]
    margin = 0.01  # so that the ends of the front count
    scaled = [tuple((p[m] - low[m]) / spread[m] + margin for m in range(2)) for p in points]
    area = [hypervolume(scaled[:n], (0.0, 0.0)) for n in range(1, len(scaled) + 1)]
    return [value / area[-1] for value in area]


def _column(knob: str) -> str:
    return f"knob_{knob}" if knob in _TAKEN else knob


def _csv(names: list[str], content: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in (dict(zip(names, names, strict=True)), *content):
        writer.writerow([escape_cell(row[name]) for name in names])
    return text.getvalue()
