"""A reader of the ledger that keeps a copy of a search up to date on a thread of its own.

A tracker that is slow or out of reach can so neither delay nor end a search: if it fails, one line
says so, and the copy is written whole by the next session, because it follows from the ledger.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol, final

from adv.keys import redact
from search.errors import describe_error
from search.record.view import Event, View
from search.tracking.run_records import ENDS
from search.tracking.tracker import take_snapshot

EVERY = 10.0  # seconds between two copies while the search runs


class Copy(Protocol):
    """A copy of a search in a tracker."""

    def write(self, view: View) -> None:
        """Make the copy say what the ledger says; what it says already is not written again."""


@final
class BackgroundCopy:
    """A reader of the ledger that has a copy written now and then, and at the end of a session.

    Args:
      name: of the tracker, for messages.
      copy: to write.
      say: takes a line that says what went wrong; called from another thread.
      every: seconds between two copies.
    """

    def __init__(
        self, name: str, copy: Copy, say: Callable[[str], None], every: float = EVERY
    ) -> None:
        self._name, self._copy, self._say, self._every = name, copy, say, every
        self._due, self._off = 0.0, False
        self._views: SimpleQueue[View | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name=name, daemon=True)
        self._thread.start()

    def __call__(self, event: Event, view: View) -> None:
        """Hand over the state of the search if a copy is due; return at once."""
        inner = event["part"] if event["event"] == "final" else event
        ended = inner["event"] in {*ENDS, "rebuilt"} and time.monotonic() >= self._due
        if not self._off and (ended or event["event"] == "end"):
            self._due = time.monotonic() + self._every
            self._views.put(take_snapshot(view))

    def close(self, timeout: float = 20.0) -> None:
        """Wait until the copy is written, for so many seconds at most."""
        self._views.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive() and not self._off:
            self._off = True
            self._say(f"{self._name} did not take everything within {timeout:.0f} s")

    def _write(self) -> None:
        """Write what is handed over until `close`; the thread's main function."""
        while (view := self._views.get()) is not None:
            try:
                self._copy.write(view)
            except Exception as error:  # a tracker may raise anything, which must not end a search
                if not self._off:
                    self._off = True
                    self._say(f"{self._name} is off: {redact(describe_error(error, limit=200))}")
                return
