"""Temporary folders that outlive no driver: a later one removes what a killed one has left.

A driver holds a lock on a file in its folder, which the kernel releases when it dies, however it
dies. The processes that it starts carry the folder's path in their environment. Where a title has
been written over that, as in Ray's agents, an open file of the folder tells. So what is removed is
ours and dead: no folder of another user, of another program, or of a driver that still runs.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PREFIX = "robustune-"
LOCK = "lock"
MARK = "ROBUSTUNE_SCRATCH"  # variable in the environment of the processes of a folder
MEGABYTE = 1 << 20


_held: dict[Path, int] = {}  # the locks of this driver, by folder


def make_scratch(base: Path) -> Path:
    """Make a folder with mode 0700 that a later driver removes if this one is killed.

    Args:
      base: folder in which it is made.
    """
    made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=base))
    lock = os.open(made / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    path = made.rename(made.with_name(made.name[1:]))  # others look for this name, find it locked
    _held[path] = lock
    return path


def remove_scratch(path: Path) -> None:
    """Delete a folder that this driver has made, and end what still runs for it; else nothing."""
    if (lock := _held.pop(path, None)) is not None:
        _end_processes(path)
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder in the one for temporary files for as long as the block runs."""
    path = make_scratch(Path(tempfile.gettempdir()))
    try:
        yield path
    finally:
        remove_scratch(path)


@contextmanager
def mark_processes(path: Path) -> Iterator[None]:
    """Let the processes that the block starts carry the mark of a folder."""
    os.environ[MARK] = str(path)
    try:
        yield
    finally:
        del os.environ[MARK]


@dataclass(frozen=True)
class Swept:
    """Remains of killed drivers that were removed.

    Args:
      folders: how many there were.
      size: of the files in them, in bytes.
      processes: how many still ran.
    """

    folders: int = 0
    size: int = 0
    processes: int = 0

    def describe(self) -> str:
        """Return what was removed in words, "" for nothing."""
        if not self.folders:
            return ""
        folders = f"{self.folders} temporary folder{'s' * (self.folders > 1)}"
        processes = f"{self.processes} process{'es' * (self.processes > 1)}"
        ended = f" and {processes}" if self.processes else ""
        return (
            f"Removed what a killed launch.py had left: {folders} "
            f"({self.size / MEGABYTE:.0f} MB){ended}."
        )


def sweep(bases: Iterable[str]) -> Swept:
    """Remove the folders of drivers of this user that have died, and end their processes.

    Args:
      bases: folders that may hold some; those that do not exist are passed over.
    """
    swept = Swept()
    for base in dict.fromkeys(map(os.path.realpath, bases)):
        for path in sorted(Path(base).glob(f"{PREFIX}*")):
            if (lock := _lock_dead(path)) is not None:
                ended, size = _end_processes(path), _measure(path)
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)
                swept = Swept(swept.folders + 1, swept.size + size, swept.processes + ended)
    return swept


def _lock_dead(path: Path) -> int | None:
    """Return the lock of a folder that is ours and whose driver has died, None for any other."""
    try:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return None
        lock = os.open(path / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _end_processes(path: Path) -> int:
    """Kill the processes that belong to a folder, where /proc shows them; return how many."""
    ended = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(entry.name) != os.getpid() and _belongs(entry, path):
                os.kill(int(entry.name), signal.SIGKILL)
                ended += 1
    return ended


def _belongs(process: Path, folder: Path) -> bool:
    """Return whether a process carries a folder's mark, or may have and has one of its files open.

    A reader of a log, whose environment is whole, does not belong to the folder.
    """
    environment = (process / "environ").read_bytes()
    if f"{MARK}={folder}".encode() in environment.split(b"\0"):
        return True
    files = (process / "fd").iterdir() if environment.startswith(b"\0") else ()
    return any(os.readlink(file).startswith(f"{folder}/") for file in files)


def _measure(path: Path) -> int:
    size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                size += os.lstat(os.path.join(folder, name)).st_size
    return size
