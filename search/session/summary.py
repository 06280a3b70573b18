"""What a search leaves behind: tables, report, the front's weights, and the last words."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from search.finals.standings import Finalist, standing
from search.record.constraints import excesses
from search.record.trial import Trial
from search.record.view import Event, View
from search.reporting.csv_tables import write_tables
from search.reporting.finals_remarks import remarks
from search.reporting.finals_terminal import finals_table
from search.reporting.html_report import write_report
from search.reporting.terminal import clock, front_table, say
from search.session.job import Job
from search.stopping.audit import describe_stopping
from search.tracking.tracker import Tracker
from search.trials.train_trial import STATE

REPORT_EVERY = 20.0  # seconds between two writings of the report while the search runs
ENDS = {"finished", "failed", "stopped"}


class Pages:
    """A reader that keeps the tables and the report up to date while the search runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.written = folder, time.monotonic()

    def __call__(self, event: Event, view: View) -> None:
        """Write what a trial's end has changed."""
        if ended(event) is None:
            return
        write_tables(view, self.folder)
        if time.monotonic() - self.written > REPORT_EVERY:
            write_report(view, self.folder / "report.html")
            self.written = time.monotonic()


class Tidy:
    """A reader that removes what a trial needs only to go on, once it has ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, event: Event, view: View) -> None:
        """Remove the state of a trial that has ended."""
        if (place := ended(event)) is not None:
            (self.folder / place / STATE).unlink(missing_ok=True)


def ended(event: Event) -> Path | None:
    """The folder, in that of the run, of the training that ended with this event."""
    inner = event["part"] if event["event"] == "final" else event
    if inner["event"] not in ENDS:
        return None
    place = Path("finals") if event["event"] == "final" else Path()
    return place / "trials" / f"{inner['trial']:04d}"


def wrap_up(console: Console, job: Job, tracker: Tracker, note: str, code: int) -> None:
    """Write everything, and say what was found and where it is.

    Args:
      console: where to say it.
      job: the search.
      tracker: closed here.
      note: why the search ended early, "" where it did not.
      code: the exit status.
    """
    view, folder = job.study.view, job.folder
    job.study.ledger.append("end", reason=note or "done", code=code)
    _copy_front(view, folder)
    write_tables(view, folder)
    write_report(view, folder / "report.html")
    tracker.close()
    members = view.front()
    lines = [
        "",
        f"{len(view.in_state('finished'))} trials finished, "
        f"{len(view.in_state('stopped'))} stopped early, {len(view.in_state('failed'))} failed, "
        f"{clock(view.elapsed)} in all{f'; {note}' if note else ''}.",
        "",
    ]
    console.print("\n".join(lines), markup=False)
    field = [finalist for finalist in standing(view) if finalist.runs]
    if members and members[0].result:
        images = members[0].result.details.images or "?"
        console.print(front_table(members))
        console.print(
            f"\n95 % intervals over {images} validation images. The front was chosen on them, so "
            "expect a little\nless on new images"
            + (
                ".\n"
                if field
                else "; the test split has not been touched:\n"
                f"  python launch.py --finalists {folder}\n"
            ),
            markup=False,
        )
    if field:
        _say_finals(console, view, field)
    _warn(console, members, folder)
    for text in (*describe_stopping(view), *left_out(view)):
        say(console, text)
    places = {"report": str(folder / "report.html"), "W&B": tracker.where()}
    if members:
        places["weights"] = f"{folder / 'front'}/"
    if note:
        places["go on"] = f"python launch.py {_go_on(job)}"
    for label, place in places.items():
        if place:
            console.print(f"{label:<8} {place}", markup=False)


def _go_on(job: Job) -> str:
    """The flags that go on with what was interrupted."""
    options = job.options
    if options.rescore:
        sizes = {"--battery-steps": options.battery_steps, "--images": options.images}
        given = "".join(f" {flag} {value}" for flag, value in sizes.items() if value)
        return f"--rescore {job.folder}{given}"
    return f"{'--finalists' if options.only_finals else '--resume'} {job.folder}"


def _say_finals(console: Console, view: View, field: list[Finalist]) -> None:
    """The finalists' table, and what its numbers are."""
    console.print(finals_table(field))
    for line in remarks(view, field):
        say(console, line)
    console.print()


def _warn(console: Console, members: Sequence[Trial], folder: Path) -> None:
    """Name the members of the front whose score is not to be believed."""
    for trial in members:
        gap = trial.result.details.masking_gap if trial.result else None
        if gap and gap.flagged:
            console.print(
                f"Trial {trial.number} is flagged: a stronger attack takes {100 * gap.gap:.0f} "
                f"points from it at eps {gap.eps:.3g}. Why:\n"
                f"  python -m adv audit {folder}/front/{trial.name}.safetensors\n",
                markup=False,
            )


def left_out(view: View) -> list[str]:
    """Which finished trials are not on the front because they break a bound, in words."""
    broken: dict[str, list[str]] = {}
    for trial in view.in_state("finished"):
        found = excesses(trial.result, view.header) if trial.result else {}
        for name in found:
            if found[name] > 0:
                broken.setdefault(name, []).append(str(trial.number))
    if broken and not any(map(view.feasible, view.in_state("finished"))):
        return [f"No trial keeps the bounds ({', '.join(broken)}): the front is of all trials."]
    return [
        f"Not on the front, whatever their values: trial{'s' * (len(numbers) > 1)} "
        f"{', '.join(numbers)}, above the bound of {name}."
        for name, numbers in broken.items()
    ]


def _copy_front(view: View, folder: Path) -> None:
    """The weights of the front's members, and of no others, in `front/`."""
    target = folder / "front"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for trial in view.front():
        weights = trial.result.details.weights if trial.result else None
        if weights and (folder / weights).is_file():
            shutil.copyfile(folder / weights, target / f"{trial.name}.safetensors")
