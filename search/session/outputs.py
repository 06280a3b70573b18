"""Keep the run folder up to date: tables, report, the front's weights, no stale state."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adv.files import partial_file
from search.errors import StorageError, find_storage_error
from search.finals.standings import compute_standings
from search.outcome.front import find_front
from search.outcome.roles import find_verdict
from search.record.derived_ledgers import FinalsLedger, MemoryLedger
from search.record.ledger import Ledger
from search.record.run_files import LostNetError, is_inside
from search.record.run_folder import FIGURES, FRONT, LEDGER, REPORT, trial_path
from search.record.view import Event, View
from search.reporting.csv_tables import write_tables
from search.reporting.html_report import write_html_report
from search.reporting.static_figures import write_static_figures
from search.reporting.verdict_text import verdict_record
from search.session.advise import advise
from search.session.disk_space import SpaceWatcher, estimate_trial
from search.session.job import Job
from search.session.rewrite_report import write_all_tables
from search.session.stored_nets import FINAL, TRIAL, StoredNet, stored_net
from search.session.tolerant_reader import Reader, TolerantReader, locate
from search.tracking.tracker import Tracker
from search.trials.phase import PHASE
from search.trials.trial_state import STATE

REPORT_EVERY = 20.0  # seconds between two reports while the search runs; more if one takes long
TABLES_GROWTH = 0.01  # more of the trials have ended: then the tables are due, or after 20 s
ENDS = {"finished", "failed", "stopped"}

Fetch = Callable[[str], None]
"""Downloads a net by its name in the run folder: see `Mirror.fetch`."""


def add_readers(
    job: Job,
    progress: Reader,
    tracker: Tracker,
    copies: Mapping[str, Reader],
    say: Callable[[str], None],
) -> None:
    """Let a session's ledger keep the terminal, W&B, the tables and the report up to date.

    Args:
      job: the search.
      progress: shows the search in the terminal.
      tracker: of the session.
      copies: of the search in other trackers, by their names.
      say: takes a line that says what went wrong.
    """
    readers: dict[str, Reader] = {
        "progress": progress,
        "tracking": tracker,
        "tables and report": ReportWriter(job.folder),
        "states of ended trials": StateCleaner(job.folder),
        **({"storage": job.mirror} if job.mirror else {}),
        "free space": SpaceWatcher(job.folder, estimate_trial(job)),
        **copies,
    }
    job.study.ledger.readers += [TolerantReader(readers[name], name, say) for name in readers]


def record_verdict(view: View) -> dict[str, Any]:
    """Return the verdict on the search as a key of its `end` event; none without a result."""
    verdict = find_verdict(view, find_front(view))
    return {"verdict": verdict_record(view, verdict)} if verdict else {}


class ReportWriter:
    """A reader of the ledger that updates the tables and the report while the search runs.

    Both take longer the more trials there are. The tables follow each of the first hundred trials,
    then each percent more of them, so that all their rows together grow with the trials and not
    with their square; the report takes a twentieth of the time at most.

    Args:
      folder: of the run.

    Attributes:
      ended: how many trials have ended in this session.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.ended = folder, 0
        self._tables_due, self._last_tables = 0.0, time.monotonic()
        self.due = time.monotonic() + REPORT_EVERY

    def __call__(self, event: Event, view: View) -> None:
        """Write the tables and the report if a trial has ended and they are due."""
        if find_ended_trial(event) is None:
            return
        self.ended += 1
        began = time.monotonic()
        if self.ended >= self._tables_due or began - self._last_tables > REPORT_EVERY:
            self._tables_due = self.ended + max(1.0, TABLES_GROWTH * len(view.trials))
            self._last_tables = began
            write_tables(view, self.folder, compute_standings(view))
        if (began := time.monotonic()) > self.due:
            write_html_report(view, self.folder / REPORT, compute_standings(view))
            now = time.monotonic()
            self.due = now + max(REPORT_EVERY, 20 * (now - began))


class StateCleaner:
    """A reader of the ledger that deletes the state of a trial, once the trial has ended.

    Args:
      folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, event: Event, view: View) -> None:
        """Delete the state of the trial that ended with this event, if one did."""
        if (path := find_ended_trial(event)) is not None:
            for name in (STATE, PHASE):
                (self.folder / path / name).unlink(missing_ok=True)


def find_ended_trial(event: Event) -> Path | None:
    """Return the folder of the trial or final training that ended with an event, or None.

    The path is relative to the run folder.
    """
    final = event["event"] == "final"
    inner = event["part"] if final else event
    return trial_path(inner["trial"], final=final) if inner["event"] in ENDS else None


def write_outputs(job: Job, tracker: Tracker, note: str, code: int) -> str:
    """Write the last event, front, tables and report of a session, and close the tracker.

    Each is tried, whatever becomes of the others; in a folder that has gone away nothing is made.

    Args:
      job: the search.
      tracker: of the session.
      note: why the search ended early, "" if it did not.
      code: the exit status.

    Returns:
      What could not be written, and why, in one line; "" if all was.
    """
    view, folder = job.study.view, job.folder
    outputs = {
        LEDGER: lambda: job.study.ledger.append(
            "end", reason=note or "done", code=code, **record_verdict(view), **_advice(job)
        ),
        FRONT: lambda: write_front(
            job.study.ledger, folder, job.mirror.fetch if job.mirror else None
        ),
        "tables": lambda: write_all_tables(view, folder),
        FIGURES: lambda: write_figures(view, folder),
        REPORT: lambda: write_html_report(view, folder / REPORT, compute_standings(view)),
        "tracking": lambda: tracker.close(nets=code == 0),
    }
    if not (
        folder / LEDGER
    ).exists():  # the folder is away: what is written now would lie beside it
        outputs = {name: outputs[name] for name in (LEDGER, "tracking")}
    problems = [_try(name, write) for name, write in outputs.items()]
    return next(filter(None, problems), "")  # a full disk gives the same for all


def write_figures(view: View, folder: Path) -> None:
    """Draw the main figures as PNG and SVG.

    Args:
      view: of the search.
      folder: of the run.
    """
    write_static_figures(view, folder / FIGURES, compute_standings(view))


def _advice(job: Job) -> dict[str, Any]:
    """Return what the last event holds of the advice."""
    found = advise(job.study.view, job.study.space)
    return {"advice": found.to_json()} if found else {}


def _try(name: str, write: Callable[[], None]) -> str:
    try:
        write()
    except Exception as error:  # a bug may raise anything
        storage = find_storage_error(error)
        return str(storage) if storage else f"could not write {name}: {locate(error)}"
    return ""


def write_front(
    ledger: Ledger | MemoryLedger | FinalsLedger, folder: Path, fetch: Fetch | None = None
) -> None:
    """Copy the nets of the front to `front/`, and note in the ledger which are lost.

    Where the training whose net was to be copied has lost it, another one of the same finalist
    takes its place.

    Raises:
      OSError: a copy cannot be written; those of earlier sessions are still there.
      StorageError: the store fails, or lacks a net that the run folder lacks, too.
    """
    while note_lost_nets(ledger, lost := copy_front(ledger.view, folder, fetch)):
        pass
    if fetch and (reasons := [reason for reason in lost.values() if reason]):
        raise StorageError(f"a net of the front is lost: {reasons[0]}")


def copy_front(view: View, folder: Path, fetch: Fetch | None = None) -> dict[tuple[str, int], str]:
    """Copy the weights of the front's members, and of no others, to `front/`.

    Each copy is whole or absent. The copy of an earlier session takes the place of a file that is
    gone, or has changed since its training wrote it.

    Args:
      view: of the run.
      folder: of the run.
      fetch: downloads a net that only the store has; None: there is no store.

    Returns:
      Which members have lost their net, and why: a reason by the kind and the number of the trial
      or training that made it, "" for all that have it.

    Raises:
      OSError: a copy cannot be written; those of earlier sessions are still there.
      StorageError: the store fails; what needs no store has been copied.
    """
    lost: dict[tuple[str, int], str] = {}
    kept, failure = set(), None
    (folder / FRONT).mkdir(exist_ok=True)
    for member in find_front(view).members:
        kind = FINAL if member.is_final else TRIAL
        net = stored_net(kind, member.net, folder)
        if net is None or net.result.details.weights is None:
            continue
        copy = folder / member.file
        try:
            source = find_or_fetch(net, fetch)
        except LostNetError as error:
            lost[kind, member.net.number] = str(error)
            continue
        except StorageError as error:
            failure = error
            continue
        lost[kind, member.net.number] = ""
        kept.add(copy)
        if source != copy.resolve():
            with partial_file(copy) as partial:
                shutil.copyfile(source, partial)
    for path in (folder / FRONT).iterdir():
        if path not in kept:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if failure:
        raise failure
    return lost


def find_or_fetch(net: StoredNet, fetch: Fetch | None) -> Path:
    """Return the file that holds a net as it was recorded, from the store if it is only there.

    Raises:
      LostNetError: there is none.
      StorageError: the store fails.
    """
    try:
        return net.find()
    except LostNetError:
        if fetch is None or not is_inside(net.files[0]):
            raise
    fetch(net.files[0])
    return net.find()


def note_lost_nets(
    ledger: Ledger | MemoryLedger | FinalsLedger, lost: Mapping[tuple[str, int], str]
) -> bool:
    """Note in the ledger which nets are lost since the last time, or are there again.

    Returns:
      Whether a final training has lost its net: another one may take its place.
    """
    finals = False
    for (kind, number), reason in lost.items():
        view = ledger.view.finals if kind == FINAL else ledger.view
        if view is None or reason == view.trials[number].lost_net:
            continue
        if kind == TRIAL:
            ledger.append("net", trial=number, lost=reason)
        else:
            ledger.append("final", part={"event": "net", "trial": number, "lost": reason})
            finals = True
    return finals
