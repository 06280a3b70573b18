"""Where sets are kept that a recipe asks for: each is made once, whoever comes first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from adv.data.names import DataError
from adv.files import remove_partials


def cache_key(*parts: object) -> str:
    """16 hex digits that any change of what something is made of changes."""
    text = "\0".join(map(repr, parts))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_once(path: Path, make: Callable[[Path], object]) -> Path:
    """`path`, made by `make(path)` unless it is there.

    Trials begin together: the first one makes it, and the others wait for its lock, which the
    system takes back from a process that is killed.

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
            f"{path.parent}: cannot be written to ({error.strerror or error}): name a folder for "
            "generated images by ROBUSTUNE_DATA"
        ) from error
    try:
        if not path.exists():
            remove_partials(path)
            make(path)
    finally:
        lock.release()
    return path
