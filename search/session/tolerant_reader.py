"""Keep a mistake in the code that shows a search from ending the search."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from search.errors import describe_error, find_storage_error
from search.record.view import Event, View

Reader = Callable[[Event, View], None]


class TolerantReader:
    """A reader of the ledger whose exception neither fails a trial nor ends the search.

    The report, the tables and the live table follow from the ledger and can be written again, so a
    bug in one of them is said once, and that reader is not called any more. A disk that fails is
    no bug: the ledger lies on it too, so it ends the search.

    Args:
      reader: to call.
      name: what the reader keeps up to date, for the message.
      say: takes the message, one line.
    """

    def __init__(self, reader: Reader, name: str, say: Callable[[str], None]) -> None:
        self.reader, self.name, self.say = reader, name, say
        self._off = False

    def __call__(self, event: Event, view: View) -> None:
        """Pass an event on.

        Raises:
          StorageError: a disk or mount failed.
        """
        if self._off:
            return
        try:
            self.reader(event, view)
        except Exception as error:  # a bug may raise anything
            if storage := find_storage_error(error):
                raise storage from error
            self._off = True
            with suppress(Exception):  # it may be the terminal that failed
                self.say(f"{self.name}: no longer updated, the search goes on: {locate(error)}")


def locate(error: Exception) -> str:
    """Return an exception in one line, with the file and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return describe_error(error)
    place = Path(frames[-1].filename)
    return f"{describe_error(error)} ({place.parent.name}/{place.name}, line {frames[-1].lineno})"
