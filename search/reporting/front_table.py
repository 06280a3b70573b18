"""The front as a table for the terminal, and the result of a trial in one line."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from search.formatting import (
    format_objective,
    format_value,
    objective_title,
)
from search.record.trial import Trial
from spaces import OBJECTIVES


def front_table(members: Sequence[Trial], *, intervals: bool = True) -> Table:
    """Return the table of front members: objectives, perhaps with intervals, hyperparameters."""
    names = list(dict.fromkeys(name for trial in members for name in trial.params))
    table = Table(title="Pareto front", title_justify="left", title_style="bold", box=None)
    table.add_column("trial", justify="right")
    for name in OBJECTIVES:
        table.add_column(objective_title(name), justify="right", overflow="fold")
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for trial in members:
        cells = [_cell(trial, name, intervals) for name in OBJECTIVES]
        table.add_row(
            str(trial.number), *cells, *(format_value(trial.params.get(name, "")) for name in names)
        )
    return table


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
    return "  ".join(f"{objective_title(name)} {_cell(trial, name, False)}" for name in OBJECTIVES)
