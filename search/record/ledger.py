"""The ledger of a run: an append-only file of events with one writer, the driver.

Each line is a JSON object. The first is `study`; then come

- `session`: a driver started; `end`: it stopped, and why;
- `proposed`: a trial's hyperparameters and seed; `epoch`: its metrics after an epoch;
- `rung`: objectives of a half-trained net, and whether its training continues;
- `finished`, `failed`, `stopped`: how a trial ended;
- `relaxed`: early stopping became gentler, and why;
- `finals`: which trials are trained again, and how they are attacked; `final`: holds an event of
  such a training;
- `rescored`: the result of a stored net under another battery; `rebuilt`: those results replace
  the ones of the trials.

All else (the front, the report, W&B) is computed from these events by `search.record.view`. A line
that a crash has cut off is dropped when the ledger is next opened, so it can only be the last one.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.record.view import Event, View

FORMAT = 1


class LedgerError(ValueError):
    """A ledger that cannot be used; the message is one line."""


class Ledger:
    """The open ledger of a run.

    Args:
      path: of the file, which is created where there is none.

    Raises:
      LedgerError: another driver holds it, it is of a newer format, or an event in it is invalid.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.view = View()
        self.readers: list[Callable[[Event, View], None]] = []
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise LedgerError(f"{path.parent} is in use by another launch.py") from None
        try:
            end = _replay(path, self.view)
        except LedgerError:
            self._file.close()
            raise
        self._file.truncate(end)

    def append(self, event: str, **content: Any) -> None:
        """Write one event to disk, apply it to `view`, then pass it to the readers."""
        record = {"event": event, "time": time.time(), **content}
        line = json.dumps(record, allow_nan=False, default=_plain) + "\n"
        self._file.write(line.encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.view.apply(json.loads(line))
        for reader in self.readers:
            reader(record, self.view)

    def close(self) -> None:
        """Close the file, so that another driver can open it."""
        self._file.close()


def read(path: Path) -> View:
    """Return the view of a ledger on disk; another driver may hold it.

    Raises:
      LedgerError: it is of a newer format, or an event in it is invalid.
    """
    view = View()
    _replay(path, view)
    return view


def _replay(path: Path, view: View) -> int:
    """Apply all whole events of a file; return the offset at which the last one ends."""
    end = 0
    for number, (event, after) in enumerate(_events(path), 1):
        try:
            view.apply(event)
        except ValueError as error:
            raise LedgerError(f"{path}, line {number}, event {event['event']}: {error}") from None
        end = after
    return end


def _events(path: Path) -> Iterator[tuple[Event, int]]:
    """Yield each whole event with the offset at which its line ends."""
    end = 0
    with path.open("rb") as lines:
        for line in lines:
            try:
                event = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                event = None
            if not isinstance(event, dict) or "event" not in event:
                return
            if event["event"] == "study":
                _check_format(path, event)
            end += len(line)
            yield event, end


def _check_format(path: Path, event: Event) -> None:
    found = event.get("format")
    if not isinstance(found, int):
        raise LedgerError(f"{path}, event study: key 'format' holds {found!r}, not a whole number")
    if found > FORMAT:
        raise LedgerError(
            f"{path} has format {found}, this program reads up to {FORMAT}: update the program"
        )


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else str(value)
