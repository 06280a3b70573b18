"""A cache of generated images: each file is made once, by the first process that asks for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from adv.data.names import DataError
from adv.files import remove_partials


def cache_key(*parts: object) -> str:
    """Return 16 hex digits of a hash over the `repr` of the parts."""
    text = "\0".join(map(repr, parts))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_once(path: Path, make: Callable[[Path], object]) -> Path:
    """Return `path`, after calling `make(path)` if there is no such file.

    Trials start together: the first one makes the file while the others wait for its lock, which
    the operating system releases if the process is killed.

    Raises:
      DataError: the folder cannot be written to.
    """
    from filelock import FileLock  # torch itself depends on it

    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        lock.acquire()
    except OSError as error:
        raise DataError(
            f"{path.parent}: cannot be written to ({error.strerror or error}): set ROBUSTUNE_DATA "
            "to a folder for generated images"
        ) from error
    try:
        if not path.exists():
            remove_partials(path)
            make(path)
    finally:
        lock.release()
    return path
