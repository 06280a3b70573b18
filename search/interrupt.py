"""End a search before its last trial: on Ctrl-C, SIGTERM, or when its time budget is used up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NOTICE = "\nstopping, everything is saved; press again to end at once\n"
SHOW_CURSOR = b"\x1b[?25h"  # a live table hides it
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_REASONS: dict[int, str] = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGPIPE: "nobody reads the output any more",
}


class Interrupted(BaseException):
    """The search ends early with everything saved; `code` is the exit status."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class Interrupt:
    """Raises `Interrupted` when a search is to end early; every backend calls `check` often.

    Args:
      seconds: wall time that is left, None for no limit.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self.signal: int = 0

    def check(self) -> None:
        """Raise Interrupted if a signal has arrived or the time is used up."""
        if self.signal:
            raise Interrupted(_REASONS[self.signal], 128 + self.signal)
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise Interrupted("budget used up", 0)

    def request(self, number: signal.Signals) -> None:
        """Let the next `check` end the search as if this signal had arrived."""
        self.signal = self.signal or number

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Note SIGINT and SIGTERM for the next `check`; a second signal ends the process."""
        before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            os.write(1, SHOW_CURSOR if os.isatty(1) else b"")
            os._exit(128 + number)
        self.signal = number
        os.write(2, NOTICE.encode())
