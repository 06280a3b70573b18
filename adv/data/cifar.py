"""Read CIFAR-10 and CIFAR-100 through torchvision, downloading them if necessary.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009,
https://www.cs.toronto.edu/~kriz/cifar.html. torchvision verifies the checksums of the archive and
of every file in it before it reads a byte, so a copy in `root` is either intact or downloaded
again.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adv.data.names import DataError
from adv.one_line import join_lines

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]

_TIMEOUT = 60.0  # Seconds without a byte after which a download fails.


def load_cifar(name: str, root: Path) -> tuple[tuple[str, ...], list[Labelled]]:
    """Return the class names, and the (images, labels) of train and of test.

    Images are uint8 [n, 3, 32, 32], labels int64 [n]. Downloads into `root` unless an intact copy,
    or the published archive, is there already.

    Raises:
        DataError: no connection, a damaged download, or a folder that cannot be written.
    """
    from torchvision.datasets import CIFAR10, CIFAR100

    splits = _read_or_download({"cifar10": CIFAR10, "cifar100": CIFAR100}[name], root)
    return tuple(splits[0].classes), [
        (np.ascontiguousarray(split.data.transpose(0, 3, 1, 2)), np.array(split.targets, np.int64))
        for split in splits
    ]


def _read_or_download(kind: Any, root: Path) -> list[Any]:
    from filelock import FileLock  # torch itself depends on it

    # Any failure means that files are absent or damaged; only the download tells which.
    with contextlib.suppress(Exception):
        return _read_splits(kind, root, download=False)
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Trials start together: without the lock they would all write the same archive.
        with FileLock(root / f"{kind.filename}.lock"), download_timeout():
            return _read_splits(kind, root, download=True)
    except Exception as error:  # urllib, http, tarfile, zlib and pickle each raise their own.
        raise DataError(_explain(kind, root, error)) from error


def _read_splits(kind: Any, root: Path, *, download: bool) -> list[Any]:
    return [kind(str(root), train=train, download=download) for train in (True, False)]


@contextlib.contextmanager
def download_timeout() -> Iterator[None]:
    """Give up a connection that sends nothing: torchvision sets no timeout of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(before or _TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _explain(kind: Any, root: Path, error: Exception) -> str:
    """Return what went wrong and what to do, in one line; delete an archive that is damaged."""
    from torchvision.datasets.utils import check_integrity

    archive, unpacked = root / kind.filename, root / kind.base_folder
    why = join_lines(str(error)) or type(error).__name__
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
            f"{kind.url}: cannot be downloaded ({why}): try again, put the file into {root} "
            f"by hand, {instead}"
        )
    except OSError:
        return f"{archive}: damaged or unreadable ({why}): delete it, then try again, {instead}"
    return (
        f"{kind.url}: the download is incomplete or damaged ({why}) and was deleted: "
        f"try again, {instead}"
    )
