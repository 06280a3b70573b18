"""A reader of the ledger that logs a search to Weights & Biases.

The tracker hands each event to one daemon thread, so W&B can neither delay nor end a search: if it
fails, one line is printed and tracking ends. What is logged is decided in `wandb_runs`.
"""

from __future__ import annotations

import copy
import hashlib
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import Empty, Queue
from typing import final

from adv.shell import quote
from search.errors import describe_error
from search.record.study_header import StudyHeader
from search.record.trial import Trial
from search.record.view import Event, View
from search.tracking.run_records import ENDS
from search.tracking.wandb_login import resolve_mode
from search.tracking.wandb_runs import WandbRuns, drop_pending_uploads
from search.tracking.wandb_save import save_views
from search.tracking.wandb_view import Place

__all__ = ["Tracker", "resolve_mode", "study_id"]
EVERY = 10.0  # seconds between two updates of the table and the front
SNAPSHOT_SHARE = 20  # times the seconds that a copy of the view takes are between two copies
NETS_TIMEOUT = 100.0  # seconds


@final
class Tracker:
    """A reader of the ledger that logs a search to W&B.

    Args:
      folder: of the run; W&B keeps its files in `folder/wandb`.
      header: of the ledger; the ids of the W&B runs are made from it, so a resumed search continues
        in the same runs.
      mode: "online", "offline" or "off", see `resolve_mode`.
      project: in W&B.
      entity: in W&B; by default that of the account.
      say: takes a line that says what went wrong; called from another thread.
      every: seconds between two updates of the table and the front.
    """

    def __init__(
        self,
        folder: Path,
        header: StudyHeader,
        mode: str,
        project: str,
        entity: str | None = None,
        *,
        say: Callable[[str], None],
        every: float = EVERY,
    ) -> None:
        self._folder, self._say, self._every = folder.absolute(), say, every
        self._runs = WandbRuns(self._folder, study_id(header), header, mode, project, entity)
        self._queue: Queue[tuple[Event, Trial] | None] = Queue()
        self._first: View | None = None
        self._latest: View | None = None
        self._outdated, self._due = False, 0.0  # whether `_latest` is, and when it may be made anew
        self._nets = False
        self._off = mode == "off"
        self._thread = threading.Thread(target=self._log_events, name="tracking", daemon=True)
        if not self._off:
            self._thread.start()

    def __call__(self, event: Event, view: View) -> None:
        """Queue an event for logging; return at once."""
        if self._off:
            return
        inner = event["part"] if event["event"] == "final" else event
        self._outdated |= inner["event"] in {*ENDS, "finals", "rebuilt"}
        if self._latest is None or (self._outdated and self._is_due(inner["event"])):
            began = time.monotonic()
            self._latest, self._outdated = take_snapshot(view), False
            self._first = self._first or self._latest
            self._due = time.monotonic() + SNAPSHOT_SHARE * (time.monotonic() - began)
        trials = view.finals.trials if event["event"] == "final" and view.finals else view.trials
        if "trial" in inner and inner["event"] not in ("rescored", "net"):
            self._queue.put((event, copy.copy(trials[inner["trial"]])))

    def _is_due(self, event: str) -> bool:
        """Return whether the view is to be copied: at the end, or after a while without a copy."""
        return event == "end" or time.monotonic() >= self._due

    def describe_location(self) -> str:
        """Return the URL of the search if online, the command that uploads it if offline, or ""."""
        if self._off:
            return ""
        return (
            self._runs.url if self._runs.mode == "online" else self._sync_command("offline-run-*")
        )

    @property
    def has_logged(self) -> bool:
        """Whether this session has opened a run in W&B, because there was something new to log."""
        return self._runs.opened > 0

    def set_latest(self, view: View) -> None:
        """Let `close` log this state of the search."""
        self._latest = take_snapshot(view)

    def close(self, timeout: float | None = 20.0, *, nets: bool = False) -> None:
        """Finish all W&B runs; data that is not uploaded in time stays on disk.

        Args:
          timeout: in seconds, for which the call waits; None: as long as it takes.
          nets: log the nets of the front, and online save a view and a report: the search is over.
            It waits for as long again as the nets may take (`NETS_TIMEOUT`).
        """
        self._nets = nets
        if timeout is not None and nets and self._runs.mode == "online":
            timeout += NETS_TIMEOUT
        self._queue.put(None)
        if self._off or not self._thread.is_alive():
            return
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._off = True
            later = self._sync_command("*run-*", "--include-online ")
            self._say(
                f"W&B did not upload everything within {timeout:.0f} s; upload later:\n  {later}"
            )
            drop_pending_uploads()

    def _log_events(self) -> None:
        """Log events until `close`; the thread's main function."""
        try:
            if trouble := self._runs.open():
                later = self.describe_location()
                self._say(f"W&B is offline: {trouble}; upload later:\n  {later}")
            drawn, due, told = None, time.monotonic(), False
            while True:
                with suppress(Empty):
                    item = self._queue.get(timeout=self._every)
                    if item is None:
                        break
                    if self._first and not told:
                        told = True
                        self._runs.update(self._first)
                    self._runs.log_event(*item, self._latest)
                if self._latest is not drawn and time.monotonic() >= due:
                    drawn, due = self._latest, time.monotonic() + self._every
                    self._runs.log_study(drawn)
            self._runs.close(self._latest, nets=self._nets)
            if self._nets and self._latest and self._runs.mode == "online":
                self._save_views(self._latest)
        except Exception as error:  # W&B may raise anything, which must not end the search
            if not self._off:
                self._off = True
                self._say(f"W&B tracking is off: {describe_error(error, limit=200)}")
            if self._runs.mode == "online":
                drop_pending_uploads()

    def _save_views(self, view: View) -> None:
        """Save a view and a report of the search in W&B, and say where they are."""
        try:
            place = Place(self._runs.entity or "", self._runs.project, study_id(view.header))
            for name, address in zip(
                ("view", "report"), save_views(view, place, self._folder), strict=True
            ):
                self._say(f"W&B {name}: {address}")
        except Exception as error:  # of a preview of W&B's; the runs are there
            reason = describe_error(error, limit=200)
            self._say(f"W&B has no view and report of this search: {reason}")

    def _sync_command(self, pattern: str, option: str = "") -> str:
        return f"wandb sync {option}{quote(self._folder / 'wandb')}/{pattern}"


def study_id(header: StudyHeader) -> str:
    """Return an id for W&B that no other search has."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", header.name or "study")[:40]
    token = header.id or hashlib.sha256(repr(header.time).encode()).hexdigest()[:8]
    return f"{name}-{re.sub(r'[^A-Za-z0-9_-]+', '-', str(token))[:24]}"


def take_snapshot(view: View) -> View:
    """Return a copy of the view, for a thread that reads it while the search continues."""
    trials = {n: replace(trial, epochs=dict(trial.epochs)) for n, trial in view.trials.items()}
    finals = take_snapshot(view.finals) if view.finals else None
    return View(
        view.header,
        trials,
        list(view.sessions),
        view.elapsed,
        finals=finals,
        finals_header=view.finals_header,
    )
