"""The front as a table for the terminal, and the result of a trial in one line."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from search.formatting import (
    format_objective,
    format_value,
    objective_title,
)
from search.record.provenance import describe_origin
from search.record.study_header import StudyHeader
from search.record.trial import Trial
from spaces import OBJECTIVES


def front_table(
    members: Sequence[Trial],
    score: str,
    *,
    contenders: Sequence[Trial] = (),
    intervals: bool = True,
) -> Table:
    """Return the table of front members: objectives, perhaps with intervals, hyperparameters.

    Args:
      members: of the front.
      score: name of the score of the search.
      contenders: trials that cannot be told from the front, shown below it and marked with "?".
      intervals: whether to show them.
    """
    rows = (*members, *contenders)
    names = list(dict.fromkeys(name for trial in rows for name in trial.params))
    title = f"Pareto front, {score} score"
    table = Table(title=title, title_justify="left", title_style="bold", box=None)
    table.add_column("trial", justify="right")
    aims = next((t.result.aims for t in members if t.result), OBJECTIVES)
    for name in aims:
        table.add_column(objective_title(name), justify="right", overflow="fold")
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for i, trial in enumerate(rows):
        cells = [_cell(trial, name, intervals) for name in aims]
        table.add_row(
            "? " * (i >= len(members)) + mark_number(trial),
            *cells,
            *(format_value(trial.params.get(name, "")) for name in names),
        )
    return table


def mark_number(trial: Trial) -> str:
    """Return the number of a trial, with "~" if `describe_marks` has something to say on it."""
    return f"{trial.number}~" if trial.changed else str(trial.number)


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


def _cell(trial: Trial, name: str, intervals: bool) -> str:
    if trial.result is None:
        return ""
    text = format_objective(name, trial.result.objectives[name])
    pair = trial.result.intervals.get(name)
    if intervals and pair:
        low, high = (format_objective(name, end).removesuffix(" %") for end in pair)
        text += f" ({low} to {high})"
    return text


def format_result(trial: Trial) -> str:
    """Return both objectives of a finished trial in one line."""
    aims = trial.result.aims if trial.result else OBJECTIVES
    return "  ".join(f"{objective_title(name)} {_cell(trial, name, False)}" for name in aims)
