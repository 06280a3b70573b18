"""Files that a run folder names: they lie inside it, and are what was recorded.

A ledger may come from a stranger, or its folder from a disk that has lost bits. So a path that it
names is used only if it leads to a file inside the run folder, links included, and a net only if
its SHA-256 is the recorded one.
"""

from __future__ import annotations

import errno
import hashlib
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from adv.one_line import to_one_line
from search.record.run_folder import FINALS, FRONT, TRIALS

_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


class LostNetError(ValueError):
    """There is no net to use; the message says why in one line."""


def is_inside(name: str) -> bool:
    """Return whether a path, as it is written, stays below the folder that it is relative to."""
    parts = PurePosixPath(name).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and "\0" not in name


def file_inside(folder: Path, name: str) -> Path:
    """Return the file that a run folder names.

    Args:
      folder: of the run.
      name: the path of the file, relative to `folder`, as the ledger has it.

    Raises:
      LostNetError: there is no such file, it is something else than a file, or it lies outside the
        run folder, by its path or by a symbolic link.
      OSError: it cannot be looked at, because of the disk or of permissions.
    """
    shown = to_one_line(name[:100])
    if not is_inside(name):
        raise LostNetError(f"its path leads out of the run folder: {shown!r}")
    try:
        path = (folder / name).resolve(strict=True)
        mode = path.stat().st_mode
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a circle of links
        if isinstance(error, OSError) and error.errno not in _NOTHING_THERE:
            raise
        raise LostNetError(f"no weights at {shown}") from None
    if not path.is_relative_to(folder.resolve()):
        raise LostNetError(f"a link leads out of the run folder: {shown}")
    if not stat.S_ISREG(mode):
        raise LostNetError(f"{shown} is not a file")
    return path


def find_net(folder: Path, names: Iterable[str], sha256: str | None) -> Path:
    """Return the first file that holds a net as it was recorded.

    Args:
      folder: of the run.
      names: where the net may be, relative to `folder`: its file, then copies of it.
      sha256: of the file, in hex; None: not recorded, and not checked.

    Raises:
      LostNetError: none of them does; the message is about the first.
    """
    lost = []
    for name in names:
        try:
            return unchanged_file(folder, name, sha256)
        except LostNetError as error:
            lost.append(error)
        except OSError as error:
            lost.append(LostNetError(f"{name} cannot be read: {error.strerror}"))
    raise lost[0]


def unchanged_file(folder: Path, name: str, sha256: str | None) -> Path:
    """Return the file that a run folder names, if it has this SHA-256; None is not checked.

    Raises:
      LostNetError: as in `file_inside`, or its SHA-256 is another one.
      OSError: it cannot be read.
    """
    path = file_inside(folder, name)
    if sha256 is not None and compute_sha256(path) != sha256:
        raise LostNetError(f"{name} has changed since it was written (another SHA-256)")
    return path


def compute_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits; a gigabyte takes about a second.

    Raises:
      OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_links(folder: Path) -> None:
    """Raise ValueError if a folder that a run writes to lies outside it, by a symbolic link.

    The run folder itself may be a link: so a run is kept on another disk.
    """
    for path in list_folders(folder):
        if path.is_symlink() and not _resolve(path).is_relative_to(folder.resolve()):
            raise ValueError(
                f"{path} is a link that leads out of the run folder: a run keeps all of its files "
                "inside (to keep it on another disk, let the whole run folder be the link)"
            )


def list_folders(folder: Path) -> Iterator[Path]:
    """Yield the folders in a run folder that a search writes to, and what else lies in those."""
    for room in (folder / FRONT, folder / FINALS, folder / TRIALS, folder / FINALS / TRIALS):
        yield room
        if room.is_dir() and not room.is_symlink():
            yield from room.iterdir()


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a circle of links, which leads nowhere
        return path.absolute().parent
