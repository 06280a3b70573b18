"""Fetches CIFAR-10 and CIFAR-100 through torchvision, and says plainly why it could not.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009,
https://www.cs.toronto.edu/~kriz/cifar.html. torchvision compares the checksum of the archive and
of every file in it before it reads a byte, so a copy in `root` is either sound or fetched again.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adv.data.names import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]

_STALLED = 60.0  # Seconds without a byte after which a download is given up.


def read(name: str, root: Path) -> tuple[tuple[str, ...], list[Labelled]]:
    """The class names, then (pixels uint8 [n, 3, 32, 32], labels int64 [n]) of train and of test.

    Downloads into `root` unless a sound copy, or the published archive, lies there already.

    Raises:
        DataError: no connection, a damaged download, or a folder that cannot be written.
    """
    from torchvision.datasets import CIFAR10, CIFAR100

    parts = _fetched({"cifar10": CIFAR10, "cifar100": CIFAR100}[name], root)
    return tuple(parts[0].classes), [
        (np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)), np.array(part.targets, np.int64))
        for part in parts
    ]


def _fetched(kind: Any, root: Path) -> list[Any]:
    from filelock import FileLock  # torch itself depends on it

    # Any failure means absent or damaged; which of them only the download can tell.
    with contextlib.suppress(Exception):
        return _opened(kind, root, download=False)
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Trials start together: without the lock each would write the same archive.
        with FileLock(root / f"{kind.filename}.lock"), _impatient():
            return _opened(kind, root, download=True)
    except Exception as error:  # urllib, http, tarfile, zlib and pickle each raise their own.
        raise DataError(_advice(kind, root, error)) from error


def _opened(kind: Any, root: Path, *, download: bool) -> list[Any]:
    return [kind(str(root), train=train, download=download) for train in (True, False)]


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Give up a silent connection: torchvision sets no timeout and would wait for good."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(before or _STALLED)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _advice(kind: Any, root: Path, error: Exception) -> str:
    """What went wrong and what to do, in one line; deletes an archive that is not the published."""
    from torchvision.datasets.utils import check_integrity

    archive, unpacked = root / kind.filename, root / kind.base_folder
    why = " ".join(str(error).split()) or type(error).__name__
    instead = "or use the data set 'digits' or a folder of images"
    try:
        if check_integrity(archive, kind.tgz_md5):
            return (
                f"{unpacked}: damaged or unreadable ({why}): delete this folder and {archive}, "
                f"then try again, {instead}"
            )
        archive.unlink()
    except FileNotFoundError:
        return (
            f"{kind.url}: cannot be fetched ({why}): try again, put the file into {root} "
            f"by hand, {instead}"
        )
    except OSError:
        return f"{archive}: damaged or unreadable ({why}): delete it, then try again, {instead}"
    return (
        f"{kind.url}: the download broke off or is damaged ({why}) and was deleted: "
        f"try again, {instead}"
    )
