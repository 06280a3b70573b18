"""Exceptions as one line, and which of them are failures of a disk rather than of a trial."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from adv.keys import redact
from adv.one_line import join_lines, to_one_line

# Only a disk, a quota or a mount gives these. EFBIG is a limit on the size of a file (`ulimit -f`).
_NAMES = ["ENOSPC", "EDQUOT", "EROFS", "ESTALE", "EFBIG", "EREMOTEIO", "ENOMEDIUM", "EUCLEAN"]
_OF_DISKS = {getattr(errno, name) for name in _NAMES if hasattr(errno, name)}
# Terminals, devices and sockets give these too: they count where a file is named.
_OF_FILES = {
    errno.EIO,
    errno.ENXIO,
    errno.ENODEV,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
}
# An expired ticket of a network mount, or a changed owner: they count for files of the run itself.
_OF_FOLDER = {errno.EACCES, errno.EPERM}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_NUMBER = re.compile(r"(?:os error|errno)(?: =)? (\d+)", re.IGNORECASE)  # safetensors, HDF5, Python
_TORCH = re.compile(r"PytorchStreamWriter failed writing file")


class StorageError(Exception):
    """A disk or mount that fails, such as a full one; the message is one line.

    It ends the search. The trials that ran stay as they are, and the next session resumes them.
    """


def find_storage_error(error: BaseException, folder: Path | None = None) -> StorageError | None:
    """Return the failure of a disk or mount that lies behind an exception, or None.

    The whole chain of causes is looked at, and the texts in which libraries hide the number of an
    error. Running out of memory is no such failure, nor are too many open files: both come from
    what a trial does, so they fail the trial. A terminal that is gone gives the same number as a
    broken disk, but names no file.

    Args:
      error: the exception.
      folder: of the run or the trial. That a file in it may not be touched any more is such a
        failure too.
    """
    for link in _chain(error):
        if isinstance(link, StorageError):
            return link
        if isinstance(link, MemoryError):
            return None
        if type(link).__name__ == "OutOfDiskError":
            return StorageError("the disk of a node is full, so that Ray cannot store an object")
        if isinstance(link, OSError):
            if _is_of_storage(link, folder):
                return StorageError(_describe(link))
        elif _names_disk(read_message(link)):
            return StorageError(f"a file could not be written or read: {describe_error(link, 300)}")
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes, the nearest first."""
    link: BaseException | None = error
    for _ in range(20):  # a chain may be a ring
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


def _is_of_storage(error: OSError, folder: Path | None) -> bool:
    name = _file_name(error)
    if error.errno in _OF_DISKS:
        return True
    if not name or (name.startswith("/dev/") and not name.startswith("/dev/shm/")):
        return False
    if error.errno in _OF_FOLDER:
        return folder is not None and Path(name).absolute().is_relative_to(folder.absolute())
    return error.errno in _OF_FILES


def _file_name(error: OSError) -> str:
    name = error.filename2 or error.filename  # the second is the destination of a copy
    return os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else ""


def _names_disk(text: str) -> bool:
    """Return whether a library's message is that of a failing disk."""
    numbers = {int(number) for number in _NUMBER.findall(text)}
    return bool(numbers & {*_OF_DISKS, errno.EIO}) or _TORCH.search(text) is not None


def _describe(error: OSError) -> str:
    """Return what happened, where, and how many bytes are free there if a disk is full."""
    reason, name = error.strerror or str(error), _file_name(error)
    text = f"{reason}: {name}" if name else reason
    if error.errno in _FULL and name:
        text += f" ({describe_free_space(Path(name))})"
    return join_lines(text, 500)


def describe_free_space(path: Path) -> str:
    """Return in words how many bytes are free where a file would be written."""
    place = next((p for p in (path, *path.absolute().parents) if p.exists()), Path("/"))
    try:
        return f"{format_bytes(shutil.disk_usage(place).free)} free there"
    except OSError:
        return "how much is free there is not known"


def format_bytes(size: float) -> str:
    """Return a number of bytes in the largest unit that leaves at least 1: 12.3 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def describe_error(error: BaseException, limit: int = 500) -> str:
    """Return the type and the message of an exception in one line, without keys.

    Args:
      error: the exception; running out of memory is named as such.
      limit: characters at most.
    """
    memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    kind = "out of memory" if memory else type(error).__name__
    text = read_message(error)
    return join_lines(redact(f"{kind}: {text}") if text.strip() else kind, limit)


def read_message(error: BaseException) -> str:
    """Return the message of an exception, whatever its own code does."""
    try:
        return str(error)
    except (Exception, SystemExit):
        return "its message cannot be read"


def extract_last_line(error: BaseException, limit: int = 300) -> str:
    """Return the last line of an exception's message, where Ray puts the cause, without keys.

    Args:
      error: the exception; one without a message is named by its type.
      limit: characters at most.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return to_one_line(redact(lines[-1] if lines else type(error).__name__)[:limit])[:limit]
