"""When a search ends before its last trial: Ctrl-C, SIGTERM, or a budget that is used up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """The search ends early, everything saved. `code` is the exit status."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class Stop:
    """Says when to end early; every way to run calls `check` often.

    Args:
      seconds: of wall time that may still be used, None for no limit.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self.signal = 0

    def check(self) -> None:
        """Raise Interrupted where the search should end."""
        if self.signal:
            name = "interrupted" if self.signal == signal.SIGINT else "terminated"
            raise Interrupted(name, 128 + self.signal)
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise Interrupted("budget used up", 0)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note SIGINT and SIGTERM instead of dying of them; a second one ends the process."""
        before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            os.write(1, SHOW_CURSOR if os.isatty(1) else b"")
            os._exit(128 + number)
        self.signal = number
        os.write(2, HEARD.encode())


HEARD = "\nstopping, everything is kept; once more to end at once\n"
SHOW_CURSOR = b"\x1b[?25h"  # a live table hides it
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
