"""Print the results of a search, and where its files are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from adv.intervals import WRONG_GRADIENTS_LIMIT
from adv.shell import join_command
from adv.terminal.console import print_table
from search.finals.finalist import Finalist
from search.finals.reseeding_study import find_contenders
from search.finals.standings import compute_standings
from search.finals.verdict import reach_verdict
from search.formatting import count, format_clock
from search.outcome.front import find_front
from search.record.constraints import excesses, is_lower_bound
from search.record.repair import describe_repairs
from search.record.run_folder import FRONT, REPORT
from search.record.trial import Trial
from search.record.trial_result import MaskingGap
from search.record.view import View
from search.reporting.finals_remarks import describe_finals
from search.reporting.finals_terminal import finals_table
from search.reporting.front_table import describe_marks, front_table
from search.reporting.terminal import print_text
from search.reporting.verdict_text import describe_verdict
from search.session.advise import advise, describe_advice
from search.session.job import Job
from search.stopping.audit import describe_stopping
from search.surrogates.front_model import MIN_RESULTS
from spaces import find_objective, is_file

MAX_ROWS = 12  # of the front and of the trials that cannot be told from it


def print_summary(console: Console, job: Job, tracking: str, note: str) -> None:
    """Print the front, the finalists, warnings, and where the files are.

    Args:
      console: to print to.
      job: the search.
      tracking: where the search is in W&B, "" if it is not.
      note: why the search ended early, "" if it did not.
    """
    view, folder = job.study.view, job.folder
    console.print()
    _print_verdict(console, view, folder)
    _print_counts(console, view, note)
    if job.study.exhausted:
        print_text(
            console,
            f"Every configuration that this space allows has been tried, {len(view.trials)} of "
            f"{job.study.trials} trials: the search has ended.\n",
        )
    members = view.front()
    field = [finalist for finalist in compute_standings(view) if finalist.known]
    if field:
        _print_finals(console, view, field)
    elif members:
        _print_front(console, view, folder)
    if why := describe_marks(members, view.header):
        print_text(console, f"{why}\n")
    _print_warnings(console, members, folder, trusted=view.header.names_code)
    remarks = (
        describe_shortfalls,
        describe_balance,
        describe_stopping,
        describe_constant,
        describe_infeasible,
        describe_nets,
        describe_repairs,
    )
    for text in (text for describe in remarks for text in describe(view)):
        print_text(console, text)
    _print_advice(console, job)
    report, front = folder / REPORT, folder / FRONT
    places = {"report": str(report) if report.is_file() else "", "W&B": tracking}
    if members and front.is_dir() and any(front.iterdir()):
        places["weights"] = f"{front}/"
    if note:
        places["resume"] = resume_command(job)
    for label, place in places.items():
        if place:
            console.print(f"{label:<8} {place}", markup=False)


def _print_advice(console: Console, job: Job) -> None:
    """Print what would help the search most, except after a re-scoring, which trains nothing."""
    if not job.options.rescore:
        for text in describe_advice(advise(job.study.view), job.study.view, job.folder):
            print_text(console, text)


def _print_counts(console: Console, view: View, note: str) -> None:
    counts = (
        f"{count(len(view.in_state('finished')), 'trial')} finished, "
        f"{len(view.in_state('stopped'))} stopped early, {len(view.in_state('failed'))} failed, "
        f"{format_clock(view.elapsed)} in all{f'; {note}' if note else ''}."
    )
    console.print(f"{counts}\n", markup=False)


def _print_verdict(console: Console, view: View, folder: Path) -> None:
    """Print whether there is a trade-off, or the command that would tell."""
    verdict = reach_verdict(view)
    if verdict is None:
        return
    lines = describe_verdict(view, verdict)
    console.print(Text(lines[0], "bold"), soft_wrap=not console.is_terminal)
    for line in lines[1:]:
        print_text(console, line)
    if verdict.more:
        trained = len(view.finals.trials) if view.finals else 0
        number = str(trained + verdict.more)
        flags: list[str | Path] = ["--finalists", folder, "--final-trainings", number]
        flags += view.header.code_flags
        console.print(f"  {join_command('python', 'launch.py', *flags)}", markup=False)
    console.print()


def _print_front(console: Console, view: View, folder: Path) -> None:
    """Print the front and the trials that cannot be told from it."""
    members = view.front()
    numbers = {trial.number for trial in members}
    others = [trial for trial in find_contenders(view) if trial.number not in numbers]
    result = members[0].result
    images = (result.details.images if result else None) or "?"
    flags = view.header.code_flags
    shown = others[: max(0, MAX_ROWS - len(members))]
    print_table(console, front_table(members, view.header.score, contenders=shown))
    unknown = ""
    if others:
        unknown = (
            f"? {count(len(others), 'trial')} cannot be told from the front"
            f"{f', of which {len(shown)} are shown' if len(shown) < len(others) else ''}. "
        )
    print_text(
        console,
        f"\n{unknown}95 % intervals over {images} validation images. The front was chosen on "
        "them, so its scores are slightly optimistic; the test split has not been used:\n"
        f"  {join_command('python', 'launch.py', '--finalists', folder, *flags)}\n",
    )


def _print_finals(console: Console, view: View, field: list[Finalist]) -> None:
    """Print the finalists, and what their scores mean."""
    print_table(console, finals_table(field))
    for line in describe_finals(view, field):
        print_text(console, line)
    console.print()


def _print_warnings(
    console: Console, members: Sequence[Trial], folder: Path, *, trusted: bool
) -> None:
    """Print which members of the front have a score that cannot be trusted."""
    trust = ["--trust-code"] if trusted else []
    for trial in members:
        gap = trial.result.details.masking_gap if trial.result else None
        if gap and gap.flagged:
            weights = folder / FRONT / f"{trial.name}.safetensors"
            console.print(
                f"Trial {trial.number} is flagged: {_describe_flag(gap)}. Why:\n"
                f"  {join_command('python', '-m', 'adv', 'audit', weights, *trust)}\n",
                markup=False,
            )


def _describe_flag(gap: MaskingGap) -> str:
    """Return in words why a trial is flagged."""
    if (gap.wrong_gradients or 0) > WRONG_GRADIENTS_LIMIT:
        share = f"{100 * (gap.wrong_gradients or 0):.0f} %"
        return f"at {share} of the images its gradient is not the slope of its outputs"
    at = "" if gap.eps is None else f" at eps {gap.eps:.3g}"
    return f"a stronger attack lowers its accuracy by {100 * gap.gap:.0f} points{at}"


def describe_shortfalls(view: View) -> list[str]:
    """Return in words which splits hold fewer images than the search planned with."""
    return [f"Small data: {text}." for text in view.header.shortfalls]


def describe_balance(view: View) -> list[str]:
    """Return the balanced accuracies of the front, recorded where classes differ in size."""
    name = "balanced_accuracy"
    known = [
        f"trial {trial.number} {100 * trial.result.objectives[name]:.1f} %"
        for trial in view.front()
        if trial.result and name in trial.result.objectives
    ]
    if not known or name in view.header.aims:
        return []
    return [f"Classes differ in size. Balanced accuracy: {', '.join(known)}."]


def describe_infeasible(view: View) -> list[str]:
    """Return in words which finished trials are left out of the front, and by which bound."""
    broken: dict[str, list[str]] = {}
    for trial in view.scored():
        found = excesses(trial.result, view.header) if trial.result else {}
        for name in found:
            if found[name] > 0:
                broken.setdefault(name, []).append(str(trial.number))
    if broken and not any(map(view.feasible, view.scored())):
        return [f"No trial keeps the bounds ({', '.join(broken)}): the front is of all trials."]
    return [
        f"Left out of the front: trial{'s' * (len(numbers) > 1)} {', '.join(numbers)}, "
        f"{'below' if is_lower_bound(name) else 'above'} the bound of {name}."
        for name, numbers in broken.items()
    ]


def describe_constant(view: View) -> list[str]:
    """Return in words which objective had the same value in every trial."""
    points = [trial.result.point for trial in view.scored() if trial.result]
    values = dict(zip(view.header.aims, zip(*points, strict=True), strict=False))
    return [
        f"{name} was {find_objective(name).sign * seen[0]:g} in all {len(seen)} finished trials: "
        "the search went by the other objective."
        for name, seen in values.items()
        if len(seen) >= MIN_RESULTS and len(set(seen)) == 1
    ]


def describe_nets(view: View) -> list[str]:
    """Return in words which nets could not be scored again, and which of the front are lost."""
    unscored = [
        f"{name} {trial.number}"
        for name, part in (("trial", view), ("final", view.finals))
        for trial in (part.in_state("finished") if part else [])
        if not trial.result
    ]
    lines = [
        f"Trial {one.number} has lost its net, so it is not in {FRONT}/: {one.net.lost_net}."
        for one in find_front(view).members
        if one.net.lost_net
    ]
    if unscored:
        lines.append(
            f"Finished, but without a result under this battery: {', '.join(unscored)} (reasons in "
            "the report). The next --rescore tries them again."
        )
    return lines


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
    return [first, job.folder, *header.code_flags]
