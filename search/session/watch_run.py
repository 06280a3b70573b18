"""Show a search that runs elsewhere, from its ledger: `--watch runs/NAME`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from adv.shell import join_command, name_program
from adv.terminal.console import open_console, print_error
from search.finals.reseeding_study import default_trainings
from search.outcome.outcome import find_outcome
from search.record.json_records import FieldError
from search.record.ledger import is_held
from search.record.run_folder import LEDGER
from search.record.view import Event, View
from search.reporting.recommendation import print_roles
from search.reporting.terminal import LiveProgress, print_text
from search.session.summary import print_front, print_verdict

EVERY = 0.5  # seconds between two looks at the ledger
SILENT = 20  # looks without an event after which it is asked whether a driver still holds it


class LedgerTail:
    """Reads what is appended to a ledger while another process writes it.

    Args:
      path: of the ledger; it is opened for reading only, and never locked.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._end, self._written = path, 0, time.time()

    @property
    def age(self) -> float:
        """Seconds since the last event that was read was written, by the clock of this machine."""
        return max(0.0, time.time() - self._written)

    def read(self) -> Iterator[tuple[Event, float | None]]:
        """Yield the events that are whole and were not read before, each with its clock.

        Raises:
          OSError: the file cannot be read.
          ValueError: it was replaced by another one, or a line of it is damaged.
        """
        with self.path.open("rb") as file:
            file.seek(0, 2)
            if file.tell() < self._end:
                raise ValueError(f"{self.path} has become shorter: another run has begun there")
            file.seek(self._end)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # it is being written
                self._end += len(line)
                event = json.loads(line)
                self._written = event.get("time", self._written)
                clock = event.pop("clock", None)
                yield {k: v for k, v in event.items() if k not in ("n", "sum")}, clock


def watch_run(folder: Path) -> int:
    """Show a search until it ends, then what came of it; nothing in its folder is changed.

    Args:
      folder: of the run.

    Returns:
      The exit status: 0 it has ended; 1 its ledger cannot be read or its driver was killed; 130 the
      watching was ended.
    """
    console, view, tail = open_console(), View(), LedgerTail(folder / LEDGER)
    try:
        last = _read(tail, view)
        session = view.sessions[-1] if view.sessions else None
        trials = (session.trials if session else 0) or view.header.trials
        skipped = session is not None and session.finalists == "off"
        finals = 0 if skipped else default_trainings(trials, view.header.final_trainings)
        if last != "end":
            with LiveProgress(console, trials, view, finals, folder, tail.age) as live:
                last = _follow(tail, view, live)
    except KeyboardInterrupt:
        print_text(console, f"No longer watching {folder}; its search goes on.")
        return 130
    except (OSError, ValueError, FieldError) as error:
        print_error(name_program(), f"cannot read {folder / LEDGER}: {error}")
        return 1
    outcome = find_outcome(view, folder)
    print_verdict(console, view, outcome)
    if outcome.front.members:
        print_front(console, view, outcome.front)
    print_roles(console, view.header, folder, outcome)
    if last == "end":
        return 0
    command = join_command("python", "launch.py", "--resume", folder, *view.header.code_flags)
    print_error(name_program(), f"no launch.py runs this search any more; go on with: {command}")
    return 1


def _follow(tail: LedgerTail, view: View, live: LiveProgress) -> str:
    """Show what is new until the search ends or its driver is gone; return the last event."""
    last, silent, free = "", 0, 0
    while last != "end" and free < 2:  # twice, as a driver that has just begun may not hold it yet
        time.sleep(EVERY)
        if new := _read(tail, view, live):
            last, silent, free = new, 0, 0
            continue
        silent += 1
        if silent % SILENT == 0:
            free = 0 if is_held(tail.path) else free + 1
    return last


def _read(tail: LedgerTail, view: View, live: LiveProgress | None = None) -> str:
    """Apply what is new; return the kind of the last event, "" if nothing is new.

    Earlier versions of a run may have ended before: only what comes last counts.
    """
    kind = ""
    for event, clock in tail.read():
        view.apply(event, clock)
        if live:
            live(event, view)
        kind = str(event["event"])
    return kind
