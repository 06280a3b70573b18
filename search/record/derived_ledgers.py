"""Ledgers without a file of their own: one in memory, and the one of the finals."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.record.ledger import Ledger
from search.record.run_folder import FINALS
from search.record.view import Event, View


class MemoryLedger:
    """A ledger that is kept in memory only, for simulations and tests.

    Args:
      clock: returns the time of an event, in seconds; simulated time counts as time that passes.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(os.devnull)
        self.view = View()
        self.readers: list[Callable[[Event, View], None]] = []
        self.clock = clock

    def append(self, event: str, **content: Any) -> None:
        """Apply one event to `view` and pass it to the readers."""
        record = {"event": event, "time": self.clock(), **content}
        self.view.apply(record)
        for reader in self.readers:
            reader(record, self.view)

    def claim(self, seconds: float) -> None:
        """Do nothing: there is no other thread."""

    def close(self) -> None:
        """Do nothing: there is no file to close."""


class FinalsLedger:
    """The ledger of the finals, which writes `final` events to the ledger of the search.

    Args:
      ledger: of the search; it holds a `finals` event. Its readers receive the `final` events.
    """

    def __init__(self, ledger: Ledger | MemoryLedger) -> None:
        self.ledger = ledger
        self.readers = ledger.readers
        # There is no such file; the folders of the finals' trainings lie beside this path.
        self.path = ledger.path.parent / FINALS / ledger.path.name

    @property
    def view(self) -> View:
        """The view of the finals."""
        assert self.ledger.view.finals is not None, "a finals event comes first"
        return self.ledger.view.finals

    def append(self, event: str, **content: Any) -> None:
        """Write one event of a training with a fresh seed."""
        self.ledger.append("final", part={"event": event, **content})

    def claim(self, seconds: float) -> None:
        """Let no other thread append to the ledger of the search from now on."""
        self.ledger.claim(seconds)

    def close(self) -> None:
        """Do nothing: the ledger of the search is closed by its owner."""
