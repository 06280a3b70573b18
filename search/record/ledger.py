"""The ledger of a run: an append-only file of events with one writer, the driver.

Each line is a JSON object, as `search.record.event_lines` describes it. The first is `study`; then
come

- `session`: a driver started; `end`: it stopped, and why;
- `proposed`: a trial's hyperparameters and seed; `started`: a worker is given it, for the first
  time or again; `excused`: its last start does not count, it did not end the search; `squeezed`:
  it ran out of memory, and is started again with a larger share of the machine; `epoch`: its
  metrics after an epoch;
- `rung`: objectives of a half-trained net, and whether its training continues;
- `finished`, `failed`, `stopped`: how a trial ended;
- `relaxed`: early stopping became gentler, and why;
- `enough`: `--until-gain` ended the search, and what the next trials were expected to add;
- `finals`: which trials are trained again, and how they are attacked; `final`: holds an event of
  such a training;
- `net`: the file of a trial's net was found to be lost, or to be there again;
- `rescored`: the result of a stored net under another battery; `rebuilt`: those results replace
  the ones of the trials;
- `repaired`: lines were lost, and which.

All else (the front, the report, W&B) is computed from these events by `search.record.view`. A last
line that a crash has cut off is dropped when the ledger is next opened. Any other damage is an
error, which leaves the file as it is; `search.record.repair` makes a copy without it.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from adv.shell import join_command
from search.errors import StorageError, find_storage_error
from search.record.event_lines import Line, describe_order, encode_line, read_lines
from search.record.view import Event, View

FORMAT = 1


class LedgerError(ValueError):
    """A ledger that cannot be used; the message is one line."""


class LedgerInUseError(LedgerError):
    """A ledger that another driver holds."""


class Ledger:
    """The open ledger of a run.

    Args:
      path: of the file, which is created where there is none.

    Raises:
      LedgerError: another driver holds it, it is damaged or of a newer format, or an event in it
        is invalid.
      OSError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.view = View()
        self.readers: list[Callable[[Event, View], None]] = []
        self._began = time.monotonic()
        # Without a buffer: what could not be written must not be written later.
        self._file = path.open("ab", buffering=0)
        try:
            lock(self._file, path)
            self._count, self._end = replay(path, self.view)
            self._file.truncate(self._end)
        except BaseException:
            self._file.close()
            raise
        self._torn = False  # whether a part of a failed event may stand at the end of the file
        self._turn = threading.RLock()

    def append(self, event: str, **content: Any) -> None:
        """Write one event to disk, apply it to `view`, then pass it to the readers.

        The clock of the event is monotonic: setting the time of the machine does not move it. On
        Linux it stands still while the machine is suspended, as the search does.

        Raises:
          StorageError: it cannot be written; neither the file nor `view` holds it.
          ValueError: it is no event that can be recorded; nothing holds it either.
        """
        with self._turn:
            self._append(event, content)

    def claim(self, seconds: float) -> None:
        """Let no other thread append from now on: one that tries waits for ever.

        Args:
          seconds: to wait for an event that is being written.
        """
        self._turn.acquire(timeout=seconds)

    def _append(self, event: str, content: Event) -> None:
        record = {"event": event, "time": time.time(), **content}
        line = encode_line(record, self._count, time.monotonic() - self._began)
        written = json.loads(line)
        clock = written.pop("clock")
        del written["n"], written["sum"]
        try:
            self._write(line)
        except OSError as error:
            self._cut_back()
            raise self._describe_failure(error) from error
        try:
            self.view.apply(written, clock)
        except ValueError:
            self._cut_back()
            raise
        self._count, self._end, self._torn = self._count + 1, self._end + len(line), False
        for reader in self.readers:
            reader(record, self.view)

    def close(self) -> None:
        """Close the file, so that another driver can open it."""
        self._file.close()

    def _write(self, line: bytes) -> None:
        """Write a line to disk; raise OSError unless all of it is there, at the ledger's path."""
        there, own = self.path.stat(), os.fstat(self._file.fileno())
        if (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino):
            raise OSError("another file has taken its place")
        if self._torn:
            self._file.truncate(self._end)
        elif own.st_size != self._end:
            raise OSError("another program has changed it")
        self._torn = True
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())

    def _describe_failure(self, error: OSError) -> StorageError:
        error.filename = str(self.path)
        why = error.strerror or str(error.args[0])
        return find_storage_error(error) or StorageError(f"cannot write {self.path}: {why}")

    def _cut_back(self) -> None:
        """Cut off what a failed event has left, now or else before the next event."""
        if self._torn:
            with suppress(OSError):
                self._file.truncate(self._end)
                self._torn = False


def read(path: Path) -> View:
    """Return the view of a ledger on disk; another driver may hold it.

    Raises:
      LedgerError: it is damaged or of a newer format, or an event in it is invalid.
    """
    view = View()
    replay(path, view)
    return view


def lock(file: BinaryIO | Any, path: Path) -> None:
    """Reserve an open ledger for this process until the file is closed.

    Raises:
      LedgerError: another driver holds it, or its file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LedgerInUseError(f"{path.parent} is in use by another launch.py") from None
    except OSError as error:
        raise LedgerError(f"{path} cannot be locked: {error.strerror}") from None


def check_free(path: Path) -> None:
    """Raise LedgerError if another driver holds a ledger."""
    with path.open("rb") as file:
        lock(file, path)


def is_held(path: Path) -> bool:
    """Return False if no driver holds a ledger; True also where its file system has no locks.

    It asks with a shared lock that is given back at once, so others may ask at the same time.

    Raises:
      OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def replay(path: Path, view: View) -> tuple[int, int]:
    """Apply all whole events of a file to a view.

    Returns:
      How many there are, and the offset at which the last one ends.

    Raises:
      LedgerError: as `read`.
    """
    count = end = 0
    lines = read_lines(path)
    for line in lines:
        order = describe_order(line.number, count)
        fault = line.fault or order or _apply(path, view, line)
        if fault:
            itself = (line.number or 0) > count  # it is whole, and lines before it are missing
            later = [part.number for other in lines for part in other.split() if not part.fault]
            follow = itself + len(later)
            if order and not line.fault:
                fault = describe_order(line.number, count, {*later})
            raise LedgerError(_describe_damage(path, line, fault, follow))
        count, end = count + 1, line.end
    return count, end


def _apply(path: Path, view: View, line: Line) -> str:
    """Apply an event; return what is wrong with it, "" if nothing is."""
    if line.event["event"] == "study":
        check_format(path, line.event)
    try:
        view.apply(line.event, line.clock)
    except ValueError as error:
        return f"event {line.event['event']}: {error}"
    return ""


def _describe_damage(path: Path, line: Line, fault: str, follow: int) -> str:
    """Return in one line what is wrong with a ledger, and how to save what is not.

    Args:
      path: of the ledger.
      line: the first one that is wrong.
      fault: what is wrong with it.
      follow: how many whole events come after what is wrong.
    """
    events = f"{follow} whole event{'s follow' if follow != 1 else ' follows'}"
    command = join_command("python", "launch.py", "--repair", path.parent)
    return f"{path}, line {line.place}, {fault}; {events}. To save what is whole: {command}"


def check_format(path: Path, event: Event) -> None:
    """Raise LedgerError if a `study` event is of a format that this program does not know."""
    found = event.get("format")
    if not isinstance(found, int):
        raise LedgerError(f"{path}, event study: key 'format' holds {found!r}, not a whole number")
    if found > FORMAT:
        raise LedgerError(
            f"{path} has format {found}, this program reads up to {FORMAT}: update the program"
        )
