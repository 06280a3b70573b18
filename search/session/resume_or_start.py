"""`--resume-or-start`: one command that starts a run, resumes it, or finds it finished.

It is what a scheduler runs again and again. What a start has left that was killed before its first
event is started over; anything else is never overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from adv.files import SUFFIXES
from adv.shell import quote
from search.formatting import count, format_clock
from search.record.ledger import check_free, read
from search.record.run_folder import LEDGER, REPORT, STUDY
from search.record.study_header import StudyHeader
from search.record.view import View
from search.session.options import Options, choose_run_folder

DONE, BUDGET = "done", "budget used up"  # reasons of an `end` event


@dataclass(frozen=True)
class Start:
    """The decision of `--resume-or-start`: to start, to resume, or to leave a run alone.

    Args:
      options: with `resume` if the run has begun.
      finished: a line that says that nothing is left to do, "" if something is.
      code: the exit status if nothing is left to do: that of the run, 0, or 3 without any result.
    """

    options: Options
    finished: str = ""
    code: int = 0


def resume_or_start(options: Options) -> Start:
    """Return whether to start a run, to resume it or to leave it as it is.

    Args:
      options: with `resume_or_start` and a name.

    Raises:
      ValueError: another driver runs it, its ledger is damaged, or something else than a run is in
        the way.
    """
    folder = choose_run_folder(options)
    if not folder.exists() or is_half_started(folder):
        return Start(options)
    if not (folder / LEDGER).is_file():
        raise ValueError(f"{folder} exists and holds no search: choose another --name")
    check_free(folder / LEDGER)
    view = read(folder / LEDGER)
    if not view.header.format:  # trials, but an empty ledger: `--resume` names the remedies
        return Start(replace(options, resume=folder, out=None))
    finished = "" if is_outdated(folder) else describe_finish(options, view)
    if finished:
        line = f"{quote(folder)} is finished: {finished}. Nothing to do."
        return Start(options, line, 0 if view.scored() else 3)
    return Start(_as_resumed(options, view.header, folder))


def is_half_started(folder: Path) -> bool:
    """Return whether a folder holds nothing but what a start leaves that was killed very early."""
    if not folder.is_dir():
        return False
    for path in folder.iterdir():
        partial = path.name.startswith(".") and path.name.rpartition(".")[0].endswith(SUFFIXES)
        if not partial and path.name not in (STUDY, LEDGER):
            return False
    ledger = folder / LEDGER
    return not ledger.exists() or not read(ledger).events


def is_outdated(folder: Path) -> bool:
    """Return whether the report of a run lacks what happened last: a session was killed."""
    report = folder / REPORT
    if not report.is_file():
        return True
    return report.stat().st_mtime_ns < (folder / LEDGER).stat().st_mtime_ns


def describe_finish(options: Options, view: View) -> str:
    """Return in words with what a run is finished, "" if something is left to do.

    Args:
      options: may ask for more trials, more final trainings or a larger budget than before.
      view: of the run.
    """
    last = view.sessions[-1] if view.sessions else None
    planned = max((session.trials for session in view.sessions), default=0)
    if last is None or (options.trials or 0) > planned:
        return ""
    ended = f"{count(len(view.in_state('finished')), 'trial')} finished"
    if failed := len(view.in_state("failed")):
        ended += f", {failed} failed"
    if view.finals:
        ended += f", {count(len(view.finals.in_state('finished')), 'final training')}"
    if last.end == BUDGET and options.budget is not None and options.budget <= view.elapsed:
        return f"{ended}, and the budget of {format_clock(options.budget)} is used up"
    if last.end != DONE or _wants_finals(options, view):
        return ""
    return ended


def _wants_finals(options: Options, view: View) -> bool:
    """Return whether finals are asked for that the last session left out, or more of them."""
    if options.finalists == "off" or not view.scored():
        return False
    if options.final_trainings:
        return options.final_trainings > view.finals_header.trainings
    return False  # `auto` does as the last session did


def _as_resumed(options: Options, header: StudyHeader, folder: Path) -> Options:
    """Return the options of a start as those of the run's resumption.

    What `--resume` has no use for is compared with the run here.

    Raises:
      ValueError: the run began with something else.
    """
    for flag, asked, key in (
        ("--battery-steps", options.battery_steps, "battery_steps"),
        ("--images", options.images, "images"),
    ):
        recorded = header.scale.get(key)
        fitted = bool(header.shortfalls) and key == "images"  # cut down to what the data has
        if asked is not None and recorded is not None and asked != recorded and not fitted:
            raise ValueError(f"{folder} began with {flag} {recorded}, not {asked}")
    settings = options.set_
    if options.near is not None:  # which has narrowed the rest, and may itself be gone by now
        recorded_settings = tuple(header.settings or ())
        if recorded_settings[: len(settings)] != settings:
            raise ValueError(f"{folder} began with --set {[*recorded_settings]}, not {[*settings]}")
        settings = ()
    return replace(
        options,
        resume=folder,
        out=None,
        near=None,
        set_=settings,
        battery_steps=None,
        images=None,
    )
