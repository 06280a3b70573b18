"""Weights & Biases, written by the driver alone, as a reader of the ledger.

The tracker hands each event to one daemon thread and forgets it, so W&B can neither delay nor end a
search: what goes wrong there costs one line and the tracking. What is told stands in `board`.
"""

from __future__ import annotations

import copy
import hashlib
import re
import shlex
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import Empty, Queue
from typing import final

from search.record.study_header import StudyHeader
from search.record.trial import Trial
from search.record.view import Event, View
from search.tracking.wandb_login import one_line, resolve_mode
from search.tracking.wandb_runs import ENDS, Board, abandon

__all__ = ["Tracker", "resolve_mode", "study_id"]
EVERY = 10.0  # seconds between two pictures of the study


@final
class Tracker:
    """A reader of the ledger that shows the study in W&B.

    Args:
      folder: of the run; all that W&B stages stays in `folder/wandb`.
      header: the ledger's first event; the ids of the runs are made from it, so a resumed search
        goes on in the same runs.
      mode: "online", "offline" or "off", as `resolve_mode` says.
      project: in W&B.
      entity: in W&B; by default the account's own.
      say: takes the one line that says what went wrong; called from another thread.
      every: seconds between two pictures of the study.
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
        self._board = Board(self._folder, study_id(header), header, mode, project, entity)
        self._queue: Queue[tuple[Event, Trial] | None] = Queue()
        self._latest: View | None = None
        self._heard = False
        self._off = mode == "off"
        self._thread = threading.Thread(target=self._serve, name="tracking", daemon=True)
        if not self._off:
            self._thread.start()

    def __call__(self, event: Event, view: View) -> None:
        """Take note of an event; returns at once."""
        if self._off:
            return
        if not self._heard:
            self._heard = True
            self._board.know(view, event)
        inner = event["part"] if event["event"] == "final" else event
        if inner["event"] in {*ENDS, "finals", "rebuilt"} or self._latest is None:
            self._latest = _snapshot(view)
        trials = view.finals.trials if event["event"] == "final" and view.finals else view.trials
        if "trial" in inner and inner["event"] != "rescored":
            self._queue.put((event, copy.copy(trials[inner["trial"]])))

    def where(self) -> str:
        """The study's address when online, the command that uploads it when offline, else ""."""
        if self._off:
            return ""
        return self._board.url if self._board.mode == "online" else self._sync("offline-run-*")

    def close(self, timeout: float = 20.0) -> None:
        """Finish all runs; what has not reached W&B after `timeout` seconds stays on disk."""
        self._queue.put(None)
        if self._off or not self._thread.is_alive():
            return
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._off = True
            later = self._sync("*run-*", "--include-online ")
            self._say(f"W&B did not take everything within {timeout:.0f} s; later: {later}")
            abandon()

    def _serve(self) -> None:
        try:
            if trouble := self._board.open():
                self._say(f"W&B is offline: {trouble}; upload later: {self.where()}")
            drawn, due = None, time.monotonic()
            while True:
                with suppress(Empty):
                    item = self._queue.get(timeout=self._every)
                    if item is None:
                        break
                    self._board.tell(*item, self._latest)
                if self._latest is not drawn and time.monotonic() >= due:
                    drawn, due = self._latest, time.monotonic() + self._every
                    self._board.draw(drawn)
            self._board.close(self._latest)
        except Exception as error:  # W&B may raise anything; the search must not hear of it
            if not self._off:
                self._off = True
                self._say(f"W&B tracking is off: {one_line(error)}")
            if self._board.mode == "online":
                abandon()

    def _sync(self, pattern: str, option: str = "") -> str:
        return f"wandb sync {option}{shlex.quote(str(self._folder / 'wandb'))}/{pattern}"


def study_id(header: StudyHeader) -> str:
    """An id for W&B that two studies share only if they are the same one."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", header.name or "study")[:40]
    token = header.id or hashlib.sha256(repr(header.time).encode()).hexdigest()[:8]
    return f"{name}-{re.sub(r'[^A-Za-z0-9_-]+', '-', str(token))[:24]}"


def _snapshot(view: View) -> View:
    """The view as it is now, for a thread that reads it while the search goes on."""
    trials = {n: replace(trial, epochs=dict(trial.epochs)) for n, trial in view.trials.items()}
    finals = _snapshot(view.finals) if view.finals else None
    return View(
        view.header,
        trials,
        list(view.sessions),
        view.elapsed,
        finals=finals,
        finals_header=view.finals_header,
    )
