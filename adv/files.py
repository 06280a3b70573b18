"""Write files and folders whole or not at all.

A reader sees the old content or the new content, never half of it. What is not yet complete lies
beside its destination under `.NAME.PID`, PID being the number of the writing process.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

SUFFIXES = (
    ".csv",
    ".html",
    ".json",
    ".jsonl",
    ".npz",
    ".parquet",
    ".png",
    ".pt",
    ".safetensors",
    ".svg",
)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace the file at `path`, making its folder where there is none.

    Args:
      path: the file.
      content: bytes, or a text that is written as UTF-8 with its line breaks unchanged. What UTF-8
        cannot hold, such as a byte of a file's name that is not UTF-8, is written as an escape.

    Raises:
      OSError: the file cannot be written; an earlier file at `path` is unchanged.
    """
    with partial_file(path) as partial:
        partial.write_bytes(_encode(content) if isinstance(content, str) else content)


@contextmanager
def partial_file(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Give a temporary path to write to, which becomes `path` when the block ends.

    If the block raises, the temporary file is removed and `path` stays as it was.

    Args:
      path: the destination; its folder is made where there is none.
      replace: overwrite a file that exists at `path`.

    Raises:
      FileExistsError: `replace` is false, and a file has come to exist at `path`.
      OSError: the file cannot be written; `filename` is `path`, also where the system names none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut may leave an empty file under the new name
        if replace:
            partial.replace(path)
        else:
            _link(partial, path)
    except OSError as error:
        _name_destination(error, partial, path)
        raise
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def partial_folder(path: Path) -> Iterator[Path]:
    """Give a new, empty folder to fill, which becomes `path` when the block ends.

    If the block raises, the folder is removed.

    Raises:
      OSError: it cannot be written, or `path` is a folder that is not empty; `filename` is `path`.
    """
    partial = _partial(path)
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(path)
    except OSError as error:
        _name_destination(error, partial, path)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partials(path: Path) -> None:
    """Remove temporary files of `path` that were left by processes killed while writing."""
    for left in path.parent.glob(f".{escape(path.name)}.[0-9]*"):
        left.unlink(missing_ok=True)


def sweep_partials(folder: Path) -> None:
    """Remove the temporary files in a folder whose writers have been killed.

    Only those of files that we write whole go (`SUFFIXES`), and only if they are this user's and no
    process of this machine has the number of their writer. Nobody else may write to the folder.
    """
    for path in folder.glob(".*.[0-9]*"):
        name, _, process = path.name.rpartition(".")
        with suppress(OSError):
            if (
                name.endswith(SUFFIXES)
                and process.isdecimal()
                and path.lstat().st_uid == os.geteuid()
                and not _is_running(int(process))
            ):
                path.unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        pass
    return True


def check_writable(path: Path) -> None:
    """Raise OSError if no file can be written at `path`: before hours of work, not after them."""
    trial = path.with_name(f".{path.name}")  # a file that exists at `path` is left alone
    try:
        write_atomic(trial, b"\0")  # a full disk still takes empty files
    except OSError as error:
        _name_destination(error, trial, path)
        raise
    trial.unlink(missing_ok=True)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _name_destination(error: OSError, partial: Path, path: Path) -> None:
    """Let an error name the file that could not be written, instead of the partial one or none."""
    if error.filename2 == str(partial):
        error.filename2 = str(path)
    elif error.errno is not None and _is_below(error.filename, partial):
        error.filename = str(path)


def _is_below(name: object, partial: Path) -> bool:
    """Return whether an error's name is the partial file, below the partial folder, or missing."""
    return name is None or Path(os.fsdecode(name)).is_relative_to(partial)  # type: ignore[arg-type]


def _link(partial: Path, path: Path) -> None:
    """Give the partial file its name, unless a file of that name exists."""
    try:
        os.link(partial, path)  # unlike a rename, a link never replaces a file
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        partial.replace(path)  # a file system without hard links
