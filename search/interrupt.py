"""End a search before its last trial: on a signal, or when its time budget is used up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

NOTICE = "\nstopping, everything is saved; press again to end at once\n"
SHOW_CURSOR = b"\x1b[?25h"  # a live table hides it
_TERMINATED = 128 + signal.SIGTERM
_WARNED = "warned by the batch system that its time ends"
# Why a signal ends a search, and the exit status. Slurm warns with the signal that its user names,
# Grid Engine with SIGUSR1 and SIGUSR2, the kernel with SIGXCPU where CPU time is limited.
_CAUSES: dict[str, tuple[str, int]] = {
    "SIGINT": ("interrupted", 128 + signal.SIGINT),
    "SIGTERM": ("terminated", _TERMINATED),
    "SIGHUP": ("its terminal was closed", 128 + 1),
    "SIGUSR1": (f"{_WARNED} (SIGUSR1)", _TERMINATED),
    "SIGUSR2": (f"{_WARNED} (SIGUSR2)", _TERMINATED),
    "SIGXCPU": (f"{_WARNED} (SIGXCPU)", _TERMINATED),
    "SIGPIPE": ("nobody reads the output any more", 128 + 13),
}
_BY_HAND = (signal.SIGINT, signal.SIGTERM)  # the second of these ends the process at once
HANDLED = tuple(getattr(signal, name) for name in _CAUSES if name != "SIGPIPE")


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

    Attributes:
      signal: the number of the signal that ends the search, 0 for none.
      lost: why what the search runs on is gone for good, "" while it is there.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.limit_time(seconds)
        self.signal: int = 0
        self.lost = ""
        self._deferred = True
        self._by_hand = 0
        self._terminals: list[int] = []

    def limit_time(self, seconds: float | None) -> None:
        """Let `check` end the search after this wall time; None for no limit."""
        self.seconds = seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def check(self) -> None:
        """Raise Interrupted if there is a reason to end: a signal, a loss, or no time left."""
        if self.lost:
            raise Interrupted(self.lost, 1)
        if self.signal:
            raise Interrupted(*_CAUSES[signal.Signals(self.signal).name])
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise Interrupted("budget used up", 0)

    def request(self, number: signal.Signals) -> None:
        """End the search as if this signal had arrived: at once while nothing is to be saved."""
        self.signal = self.signal or number
        if not self._deferred:
            self.check()

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Note signals for the next `check`; a second Ctrl-C or SIGTERM ends the process.

        A SIGHUP that is ignored, as under nohup, stays so.
        """
        self._terminals = [number for number in (0, 1, 2) if os.isatty(number)]
        numbers = [n for n in HANDLED if n != signal.SIGHUP or _is_default(n)]
        before = {number: signal.signal(number, self._note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def raise_at_once(self) -> Iterator[None]:
        """Let a signal raise Interrupted where the block stands, which has nothing to save yet."""
        self._deferred = False
        try:
            yield
        finally:
            self._deferred = True

    def defer(self) -> None:
        """Let a signal wait for the next `check` from now on: there is something to save."""
        self._deferred = True

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._leave_lost_terminals()
        self._by_hand += number in _BY_HAND
        if self._by_hand > 1:
            _write(1, SHOW_CURSOR if os.isatty(1) else b"")
            os._exit(128 + number)
        if self.signal:
            return  # a closed terminal and a CPU limit signal again and again
        self.signal = number
        if not self._deferred:
            self.check()
        _write(2, NOTICE.encode())

    def _leave_lost_terminals(self) -> None:
        """Let output to a terminal that is gone go nowhere: each write to it would fail."""
        for number in self._terminals:
            if not os.isatty(number):
                null = os.open(os.devnull, os.O_RDWR)
                os.dup2(null, number)
                os.close(null)


def raises_on_interrupt() -> bool:
    """Return whether Ctrl-C raises KeyboardInterrupt; `Interrupt.handle_signals` prevents that."""
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _is_default(number: signal.Signals) -> bool:
    return signal.getsignal(number) is not signal.SIG_IGN


def _write(number: int, content: bytes) -> None:
    with suppress(OSError):
        os.write(number, content)
