"""What the W&B run of a whole search shows: its tables, its figures and its counts, by key.

A view and a report (`search.tracking.wandb_view`) refer to these keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.finals.finalist import Finalist
from search.outcome.front import find_front
from search.record.view import View
from search.reporting.csv_tables import column_names, trial_rows
from search.reporting.finals_csv import finalist_columns, finalist_rows
from search.reporting.importance import importance
from search.stopping.audit import audit_stopping, describe_audit
from search.tracking.standing import Standing

if TYPE_CHECKING:
    import plotly.graph_objects as go

TRIALS, FINALISTS, FAILURES, STOPPING = "trials", "finalists", "failures", "stopping"
FRONT, FINALS_FRONT, BIAS = "front", "finals_front", "selection_bias"
CURVES, LEARNING = "robustness_curves", "learning_curves"
IMPORTANCE, PARALLEL = "importance", "parallel_coordinates"
PICTURES = "attacked_images"  # of the run of a net
HYPERVOLUME, FINISHED = "hypervolume", "finished"


@dataclass(frozen=True)
class Table:
    """A table with named columns; a cell is a number, a text, a truth value or None."""

    columns: list[str]
    rows: list[list[Any]]


def has_finals(finalists: Sequence[Finalist]) -> bool:
    """Return whether there is a finalist with a fresh seed."""
    return any(finalist.runs for finalist in finalists)


def trials_table(view: View) -> Table:
    """Return all trials, one a row, under the columns of `trials.csv`."""
    names = column_names(view)
    return Table(names, [[row[name] for name in names] for row in trial_rows(view)])


def other_tables(view: View, finalists: Sequence[Finalist]) -> dict[str, Table]:
    """Return the tables beside that of the trials; one without rows is left out."""
    found = {
        FAILURES: Table(["run", "state", "epochs", "reason"], _failures(view)),
        STOPPING: Table(["trial", "epoch", "decision", "reason", "state"], _stopping(view)),
    }
    if has_finals(finalists):
        names = finalist_columns(view.header.aims)
        rows = [[row[name] for name in names] for row in finalist_rows(finalists)]
        found[FINALISTS] = Table(names, rows)
    return {name: table for name, table in found.items() if table.rows}


def front_figure(view: View) -> go.Figure:
    """Return the picture of both objectives of all trials, with 95 % intervals."""
    from search.reporting.plots import front

    return front(view)


def other_figures(view: View, finalists: Sequence[Finalist]) -> dict[str, go.Figure]:
    """Return the figures beside the front; those without data are left out."""
    from search.reporting import finals_plots, parallel_plot, plots

    front = find_front(view, finalists)
    if not front.members:
        return {}
    found = {CURVES: plots.curves(view, front), LEARNING: plots.learning(front)}
    if view.header.knobs:
        found[PARALLEL] = parallel_plot.parallel(view, set(front.numbers))
    shares = importance(view)
    if not isinstance(shares, str):
        found[IMPORTANCE] = plots.importance(shares)
    if has_finals(finalists):
        found[FINALS_FRONT] = finals_plots.finals_front(view, finalists)
        found[BIAS] = finals_plots.selection_bias(finalists)
    return found


def study_counts(view: View, standing: Standing, finished: int) -> dict[str, Any]:
    """Return the counts of a search, under names of `metric_names.UNITS`."""
    return {
        FINISHED: finished,
        "failed": len(view.in_state("failed")),
        "stopped": len(view.in_state("stopped")),
        "front_size": len(standing.front),
    }


def stopping_record(view: View) -> dict[str, Any]:
    """Return what early stopping saved and how often it was wrong; {} if nothing was stopped."""
    audit = audit_stopping(view)
    if not describe_audit(audit):
        return {}
    low, high = audit.interval
    return {
        "stopping/epochs_saved": audit.saved,
        "stopping/audited": len(audit.finished),
        "stopping/wrong": len(audit.wrong),
        "stopping/wrong_share_low": low,
        "stopping/wrong_share_high": high,
        "stopping/regret": audit.regret,
    }


def _failures(view: View) -> list[list[Any]]:
    """Return a row for each trial and final training that failed, or ended without a result."""
    return [
        [f"{label} {trial.number}", trial.state, len(trial.epochs), trial.reason]
        for label, part in (("trial", view), ("final training", view.finals))
        for state in ("failed", "finished")
        for trial in (part.in_state(state) if part else ())
        if not trial.result
    ]


def _stopping(view: View) -> list[list[Any]]:
    """Return a row for each decision at a rung, by trial and epoch."""
    return [
        [number, key[0], decision.action, decision.reason, trial.state]
        for number, trial in sorted(view.trials.items())
        for key, decision in sorted(trial.decisions.items())
    ]
