"""Find and end the processes that a process has started, and all that these have started.

On Linux an orphan is given to its nearest ancestor that adopts orphans, so a process that has
detached itself is found too. Elsewhere only those in the process group of a trial are.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection
from pathlib import Path

PATIENCE = 5.0  # seconds in which killed processes have to be gone; one may wait for a dead disk
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # of prctl(2)


def adopt_orphans() -> None:
    """Become the parent of each descendant whose own parent ends."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent dies, in whichever way."""
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def list_descendants(ancestor: int | None = None) -> list[int]:
    """Return the ids of all living descendants of a process; empty where there is no /proc.

    Args:
      ancestor: id of the process; None: this one.
    """
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, parent = entry.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(entry.parent.name)] = int(parent)
    found, fresh = [], [os.getpid() if ancestor is None else ancestor]
    while fresh:
        fresh = [pid for pid, parent in parents.items() if parent in fresh]
        found += fresh
    return found


def end_descendants(spare: Collection[int] = ()) -> None:
    """Kill all descendants of this process, and those that they start meanwhile.

    Args:
      spare: ids of processes that go on.
    """
    deadline = time.monotonic() + PATIENCE
    while (found := [pid for pid in list_descendants() if pid not in spare]) and (
        time.monotonic() < deadline
    ):
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in found:
            with contextlib.suppress(ChildProcessError):  # a child of another process
                os.waitpid(pid, os.WNOHANG)


def describe_end(code: int) -> str:
    """Return in words how a process has ended.

    Args:
      code: its exit status; the negative number of a signal, if one has ended it.
    """
    if code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name if -code in [*signal.Signals] else str(-code)
    hint = ", as when the machine runs out of memory" if -code == signal.SIGKILL else ""
    return f"signal {name}{hint}"
