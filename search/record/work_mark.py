"""A mark in the folder of a trial, by which a later session knows what the trial has to answer for.

It is there while a process runs the trial, and is removed when the process or the driver has ended,
whichever is first. So it is left behind only where all of them died at once, as in a crash of the
machine that the trial may have caused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = "running"


@contextmanager
def mark_running(folder: Path) -> Iterator[None]:
    """Keep the mark in a trial's folder for as long as the block runs; a full disk holds none."""
    mark = folder / MARK
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        mark.touch()
    try:
        yield
    finally:
        with suppress(OSError):
            mark.unlink(missing_ok=True)


def take_mark(folder: Path) -> bool:
    """Return whether the mark was left behind in a trial's folder, and remove it."""
    mark = folder / MARK
    with suppress(OSError):
        found = mark.exists()
        mark.unlink(missing_ok=True)
        return found
    return False
