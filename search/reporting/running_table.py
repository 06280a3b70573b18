"""The running trials in the live view: what each does now, and its current scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from search.formatting import format_value
from search.outcome.marks import SYMBOL, find_marks
from search.record.run_folder import trial_path
from search.record.trial import Trial
from search.record.view import View
from search.reporting.fitted_table import Column, FittedTable
from search.trials.phase import Phase, read_phase

WATCHED = {"natural": "watched_natural", "robust": "watched_robust"}


def running_table(
    running: Sequence[tuple[str, Trial]], view: View, folder: Path | None
) -> FittedTable:
    """Return the table of the running trials: phase, current scores, hyperparameters.

    Args:
      running: from `list_running`.
      view: of the search.
      folder: of the run; None: phases after the last epoch are not known.
    """
    trials = [trial for _, trial in running]
    names = [f"{n}{SYMBOL * bool(find_marks(trial, view.header))}" for n, trial in running]
    phases = [describe_phase(t, _read_phase(folder, name, t)) for name, t in running]
    columns = [Column("trial", names), Column("phase", phases)]
    for title, metric in WATCHED.items():
        cells = [_format_metric(trial, metric) for trial in trials]
        columns.append(Column(title, cells, drop=1 + (title == "natural")))
    knobs = list(dict.fromkeys(name for trial in trials for name in trial.params))
    columns += [
        Column(name, [format_value(trial.params.get(name, "")) for trial in trials], drop=3 + i)
        for i, name in enumerate(knobs)
    ]
    return FittedTable("Running", columns)


def describe_phase(trial: Trial, phase: Phase | None) -> str:
    """Return what a running trial does now: epoch 4/6, attacking 3/6.

    Args:
      trial: that runs.
      phase: that it has told after its last epoch; None: nothing.
    """
    if phase is not None:
        return f"{phase.name} {phase.done}/{phase.of}"
    if not trial.epochs:
        return "starting"
    last = trial.epochs[max(trial.epochs)]
    if last.epoch >= last.epochs:
        return "scoring"
    return f"epoch {last.epoch + 1}/{last.epochs}"


def list_running(view: View) -> list[tuple[str, Trial]]:
    """Return the running trials and final trainings, each with its name."""
    finals = view.finals.in_state("running") if view.finals else []
    return [
        *((str(trial.number), trial) for trial in view.in_state("running")),
        *((f"final {trial.number} (of {trial.origin})", trial) for trial in finals),
    ]


def _read_phase(folder: Path | None, name: str, trial: Trial) -> Phase | None:
    if folder is None:
        return None
    return read_phase(folder / trial_path(trial.number, final=name.startswith("final")))


def _format_metric(trial: Trial, name: str) -> str:
    """Return a metric of the latest epoch in percent, "" if it has none."""
    metrics = trial.epochs[max(trial.epochs)].metrics if trial.epochs else {}
    return f"{100 * metrics[name]:.1f} %" if name in metrics else ""
