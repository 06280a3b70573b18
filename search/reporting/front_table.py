"""The front as a table for the terminal, and the result of a trial in one line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from search.formatting import (
    format_interval,
    format_objective,
    format_value,
    objective_title,
)
from search.outcome.front_member import FrontMember
from search.outcome.marks import SYMBOL, Mark
from search.record.provenance import describe_origin
from search.record.study_header import StudyHeader
from search.record.trial import Trial
from search.reporting.fitted_table import Column, FittedTable
from spaces import OBJECTIVES


def front_table(
    members: Sequence[FrontMember], title: str, untold: Sequence[FrontMember] = ()
) -> FittedTable:
    """Return the table of front members: objectives with intervals, hyperparameters.

    Where it is too wide, the hyperparameters are left out from the last on, then the seeds, then
    P(front), then the intervals.

    Args:
      members: of the front.
      title: above the table.
      untold: nets that cannot be told from the front, shown below it and marked with "?".
    """
    rows = (*members, *untold)
    numbers = [
        "? " * (i >= len(members)) + mark_number(row.trial, row.marks) for i, row in enumerate(rows)
    ]
    columns = [Column("trial", numbers)]
    if any(row.p_front is not None for row in rows):
        chances = ["" if row.p_front is None else f"{row.p_front:.2f}" for row in rows]
        columns += [Column("P(front)", chances, drop=1)]
        columns += [Column("seeds", [str(len(row.runs)) for row in rows], drop=2)]
    for name in next((tuple(row.objectives) for row in rows), OBJECTIVES):
        values = [format_objective(name, row.objectives[name]) for row in rows]
        whole = [format_interval(name, v, row.intervals.get(name)) for v, row in _pair(name, rows)]
        columns.append(Column(objective_title(name), whole, narrow=values))
    knobs = list(dict.fromkeys(name for row in rows for name in row.trial.params))
    columns += [
        Column(name, [format_value(row.trial.params.get(name, "")) for row in rows], drop=3 + i)
        for i, name in enumerate(knobs)
    ]
    styles = dict.fromkeys(range(len(members), len(rows)), "dim")
    return FittedTable(title, columns, "trials.csv", styles)


def _pair(name: str, rows: Iterable[FrontMember]) -> list[tuple[float, FrontMember]]:
    return [(row.objectives[name], row) for row in rows]


def mark_number(trial: Trial, marks: Sequence[Mark] = ()) -> str:
    """Return the number of a trial, with "!" if it has marks, "~" if its versions differ.

    `describe_net_marks` and `describe_marks` say why.
    """
    return f"{trial.number}{SYMBOL * bool(marks)}{'~' * bool(trial.changed)}"


def describe_net_marks(members: Iterable[FrontMember]) -> list[str]:
    """Return in words why the figures of nets that are marked with "!" mislead."""
    return [
        f"{SYMBOL} trial {member.number}, {mark.name}: {mark.text}."
        for member in members
        for mark in member.marks
    ]


def describe_marks(trials: Sequence[Trial], header: StudyHeader) -> str:
    """Return in words why trials are marked with "~"; "" if none is."""
    changed = {name: trial.changed[name] for trial in trials for name in trial.changed}
    if not changed:
        return ""
    then = describe_origin(header)
    now = ", ".join(f"{name} {value}" for name, value in changed.items())
    before = ", ".join(f"{name} {then[name]}" for name in changed if name in then)
    return (
        f"~ trained or scored with {now}, while the run began with {before or 'others'}: compared "
        "with other trials, values may differ in their last digits."
    )


def format_result(trial: Trial) -> str:
    """Return both objectives of a finished trial in one line."""
    if trial.result is None:
        return ""
    return "  ".join(
        f"{objective_title(name)} {format_objective(name, trial.result.objectives[name])}"
        for name in trial.result.aims
    )
