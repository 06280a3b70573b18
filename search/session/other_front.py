"""Another front of the same trials, from what was recorded: `--resume runs/NAME --front-of A,B`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from adv.evaluation.image_table import read_figures
from adv.shell import join_command
from adv.terminal.console import open_console
from search.formatting import count
from search.outcome.front_member import search_member
from search.record.ledger import read
from search.record.pareto import front
from search.record.run_folder import LEDGER
from search.record.trial import Trial
from search.record.view import View
from search.reporting.fitted_table import print_fitted
from search.reporting.front_table import front_table
from spaces import check_objectives


def print_other_front(folder: Path, text: str) -> int:
    """Print the front of a run's trials by two other objectives, and return the exit status.

    Raises:
      ValueError: the text names no two different figures, or one that no trial has.
    """
    try:
        aims = check_objectives(part.strip() for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"--front-of {text!r}: {error}") from None
    view = read(folder / LEDGER)
    trials = with_objectives(view, aims)
    if not trials:
        raise ValueError(_describe_missing(folder, view, aims))
    on = front([trial.result.point for trial in trials if trial.result])
    best = [
        search_member(trial, view.header) for trial, is_on in zip(trials, on, strict=True) if is_on
    ]
    members = sorted(best, key=lambda member: member.point, reverse=True)
    console = open_console()
    print_fitted(console, front_table(members, f"Pareto front, {view.header.score} score"))
    left = len(view.scored()) - len(trials)
    console.print(
        f"\n{count(len(members), 'trial')} of {len(trials)}; nothing was attacked or changed."
        + (f" {count(left, 'trial')} without these figures." if left else ""),
        markup=False,
    )
    return 0


def with_objectives(view: View, aims: tuple[str, str]) -> list[Trial]:
    """Return the scored trials that keep the bounds, as a search for `aims` would have them.

    Those without one of the figures are left out.
    """
    every = view.scored()
    kept = [trial for trial in every if view.feasible(trial)] or every
    found = []
    for trial in kept:
        figures = recorded_figures(trial)
        if trial.result and all(name in figures for name in aims):
            result = replace(trial.result, objectives=figures, aims=aims)
            found.append(replace(trial, result=result))
    return found


def recorded_figures(trial: Trial) -> dict[str, float]:
    """Return all figures of a trial that its record gives, by name."""
    result = trial.result
    if result is None:
        return {}
    details = result.details
    found = read_figures(details.table) if details.table else {}
    if details.parameters is not None:
        found["parameters"] = details.parameters
    if details.latency is not None:
        found["latency"] = details.latency
    found["training_seconds"] = sum(report.seconds for report in trial.epochs.values())
    return {**found, **result.objectives}


def _describe_missing(folder: Path, view: View, aims: tuple[str, str]) -> str:
    known = {name for trial in view.scored() for name in recorded_figures(trial)}
    missing = [name for name in aims if name not in known]
    if not view.scored():
        return f"{folder} has no finished trial yet"
    command = join_command("python", "launch.py", "--space", "NAME", "--objectives", ",".join(aims))
    return (
        f"{folder} recorded no {' and no '.join(missing)}; it has {', '.join(sorted(known))}. A "
        f"search measures it that names it: {command}"
    )
