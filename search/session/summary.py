"""Print the results of a search, and where its files are."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from adv.shell import join_command
from search.finals.finalist import Finalist
from search.finals.standings import compute_standings
from search.formatting import count, format_clock
from search.outcome.front import RunFront, find_untold
from search.outcome.outcome import Outcome, find_outcome
from search.record.repair import describe_repairs
from search.record.run_folder import FRONT, REPORT
from search.record.view import View
from search.reporting.finals_remarks import describe_finals
from search.reporting.fitted_table import print_fitted
from search.reporting.front_table import describe_marks, describe_net_marks, front_table
from search.reporting.recommendation import print_roles
from search.reporting.terminal import print_command, print_text
from search.reporting.verdict_text import describe_verdict
from search.session.advise import advise, describe_advice
from search.session.job import Job
from search.session.run_remarks import (
    describe_balance,
    describe_constant,
    describe_infeasible,
    describe_nets,
    describe_shortfalls,
)
from search.stopping.audit import describe_stopping
from spaces import is_file

MAX_ROWS = 12  # of the front and of the trials that cannot be told from it
REMARKS = (
    describe_shortfalls,
    describe_balance,
    describe_stopping,
    describe_constant,
    describe_infeasible,
    describe_nets,
    describe_repairs,
)


def print_summary(console: Console, job: Job, tracking: str, note: str) -> None:
    """Print what came of a search: caveat, verdict, front, recommended nets, where the files are.

    Args:
      console: to print to.
      job: the search.
      tracking: where the search is in W&B, "" if it is not.
      note: why the search ended early, "" if it did not.
    """
    view, folder = job.study.view, job.folder
    outcome = find_outcome(view, folder)
    console.print()
    print_verdict(console, view, outcome)
    _print_counts(console, view, note)
    if job.study.exhausted:
        print_text(
            console,
            f"Every configuration that this space allows has been tried, {len(view.trials)} of "
            f"{job.study.trials} trials: the search has ended.\n",
        )
    if outcome.front.members:
        print_front(console, view, outcome.front)
    _print_next_finals(console, job, outcome)
    field = [finalist for finalist in compute_standings(view) if finalist.known]
    if outcome.front.source == "finals":
        _print_finals(console, view, field)
    for text in (text for describe in REMARKS for text in describe(view)):
        print_text(console, text)
    print_roles(console, view.header, folder, outcome)
    _print_advice(console, job)
    for label, place in _find_places(job, outcome.front, tracking, note).items():
        if place:
            console.print(f"{label:<8} {place}", markup=False, soft_wrap=True)


def _find_places(job: Job, front: RunFront, tracking: str, note: str) -> dict[str, str]:
    """Return where the files are, and the command that resumes; "" for what there is not."""
    report, weights = job.folder / REPORT, job.folder / FRONT
    has_weights = front.members and weights.is_dir() and any(weights.iterdir())
    return {
        "report": str(report) if report.is_file() else "",
        "W&B": tracking,
        "weights": f"{weights}/" if has_weights else "",
        "resume": resume_command(job) if note else "",
    }


def _print_advice(console: Console, job: Job) -> None:
    """Print what would help the search most, except after a re-scoring, which trains nothing."""
    if not job.options.rescore:
        view = job.study.view
        for text in describe_advice(advise(view, job.study.space), view, job.folder):
            print_text(console, text)


def _print_counts(console: Console, view: View, note: str) -> None:
    counts = (
        f"{count(len(view.in_state('finished')), 'trial')} finished, "
        f"{len(view.in_state('stopped'))} stopped early, {len(view.in_state('failed'))} failed, "
        f"{format_clock(view.elapsed)} in all{f'; {note}' if note else ''}."
    )
    print_text(console, f"{counts}\n")


def print_verdict(console: Console, view: View, outcome: Outcome) -> None:
    """Print whether there is a trade-off, or that it cannot be told, and the command that would.

    Args:
      console: to print to.
      view: of the search.
      outcome: of the run.
    """
    if outcome.verdict is None:
        return
    lines = describe_verdict(view, outcome.verdict)
    print_text(console, lines[0], "bold")
    if outcome.caveat and outcome.caveat.command:
        print_command(console, outcome.caveat.command)
    for line in lines[1:]:
        print_text(console, line)
    console.print()


def print_front(console: Console, view: View, front: RunFront) -> None:
    """Print the front of a run, and the nets that cannot be told from it.

    Args:
      console: to print to.
      view: of the search.
      front: with a member.
    """
    untold = find_untold(view, front)
    members, others = front.members[:MAX_ROWS], untold[: max(0, MAX_ROWS - len(front.members))]
    title = f"Pareto front, {view.header.score if front.source == 'search' else 'final'} score"
    print_fitted(console, front_table(members, title, others))
    console.print()
    if len(members) < len(front.members):
        print_text(console, f"{len(front.members) - len(members)} more on the front: front.csv.")
    if untold:
        shown = f", of which {len(others)} are shown" if len(others) < len(untold) else ""
        print_text(console, f"? {count(len(untold), 'net')} cannot be told from the front{shown}.")
    for line in describe_net_marks([*members, *others]):
        print_text(console, line)
    if why := describe_marks([m.trial for m in front.members], view.header):
        print_text(console, why)
    print_text(console, front.describe())
    console.print()


def _print_next_finals(console: Console, job: Job, outcome: Outcome) -> None:
    """Print the command that trains the front again with fresh seeds, unless it was printed."""
    printed = outcome.caveat is not None and "--finalists" in outcome.caveat.command
    if outcome.front.members and outcome.front.source == "search" and not printed:
        flags = job.study.view.header.code_flags
        print_text(console, "Fresh seeds would give it error bars:")
        print_command(
            console, join_command("python", "launch.py", "--finalists", job.folder, *flags)
        )
        console.print()


def _print_finals(console: Console, view: View, field: list[Finalist]) -> None:
    """Print what the scores of the finals mean."""
    for line in describe_finals(view, field):
        print_text(console, line)
    console.print()


def resume_command(job: Job) -> str:
    """Return the command with which an interrupted session resumes."""
    return join_command("python", "launch.py", *_resume_flags(job))


def _resume_flags(job: Job) -> list[str | Path]:
    options, header = job.options, job.study.view.header
    if options.rescore:
        flags = {
            "--score": options.score,
            "--battery": options.battery,
            "--battery-steps": options.battery_steps,
            "--images": options.images,
        }
        given = [word for flag, value in flags.items() if value for word in (flag, str(value))]
        space = ["--space-file", header.space] if is_file(header.space) else []
        trust = ["--trust-code"] if header.net else []
        return ["--rescore", job.folder, *given, *space, *trust]
    first = "--finalists" if options.only_finals else "--resume"
    ranks = ["--ranks-per-trial", str(options.ranks_per_trial)] if options.ranks_per_trial else []
    return [first, job.folder, *ranks, *header.code_flags]
