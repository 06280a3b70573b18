"""Kills a search at a chosen moment; Python imports this file first if its folder is on the path.

FAULT_MOMENT: "before-state" (a trial's new state is written beside the old one, but not yet in its
place), "before-event" (it is in its place), or "after-event" (the ledger's event is on disk).
FAULT_PASSED: how many such moments pass before the kill, in all processes of the search together.
FAULT_COUNT: a file that grows by a byte at each of them.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

DRIVER = os.environ.setdefault("FAULT_DRIVER", str(os.getpid()))
MOMENT = os.environ.get("FAULT_MOMENT", "")
ENDS = (b'"event": "epoch"', b'"event": "finished"')
_replace, _fsync = os.replace, os.fsync


def kill_at(moment: str) -> None:
    """Kill the driver and its workers, if it is the chosen moment and enough have passed."""
    if moment != MOMENT:
        return
    with open(os.environ["FAULT_COUNT"], "ab") as count:
        passed = count.tell()
        count.write(b".")
    if passed < int(os.environ["FAULT_PASSED"]):
        return
    with open(f"/proc/{DRIVER}/task/{DRIVER}/children") as children:
        others = {int(DRIVER), *map(int, children.read().split())} - {os.getpid()}
    for pid in (*others, os.getpid()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def replace(source: Any, target: Any, **folders: Any) -> None:
    """Put a file in its place, as `os.replace` does."""
    is_state = os.fspath(target).endswith("state.pt")
    if is_state:
        kill_at("before-state")
    _replace(source, target, **folders)
    if is_state:
        kill_at("before-event")


def fsync(file: int) -> None:
    """Write a file to disk, as `os.fsync` does."""
    _fsync(file)
    path = os.readlink(f"/proc/self/fd/{file}")
    if path.endswith("ledger.jsonl"):
        with open(path, "rb") as lines:
            last = lines.read().splitlines()[-1]
        if any(end in last for end in ENDS):
            kill_at("after-event")


os.replace, os.fsync = replace, fsync
