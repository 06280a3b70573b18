"""Read an image folder (train/<class>/*, test/<class>/*) and cache the decoded pixels.

Decoding is slow and is done once: the pixels are stored as one .npz in the cache folder, and are
decoded again when a file was added, removed, resized or touched.
"""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adv.data.image_file import SIDE, decode
from adv.data.names import (
    SPLITS,
    SUFFIXES,
    DataError,
    abbreviate,
    class_names,
    image_files,
    stray_files,
)
from adv.files import partial_file
from adv.one_line import to_one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Labels = NDArray[np.int64]

_VERSION = "32 px, 2"  # Part of the cache's key: change it whenever the decoding changes.
_PROGRESS_FROM = 2000  # Images, half a second or more, from which a progress bar is shown.


def load_image_folder(
    folder: Path, cache: Path
) -> tuple[tuple[str, ...], list[tuple[Pixels, Labels]]]:
    """Return the class names, and the (images, labels) of train and of test.

    Images are uint8 [n, 3, 32, 32], labels int64 [n]; `decode` says how they come from the files.
    A 32 x 32 image without transparency is unchanged. A warning counts the files that are left out.

    Args:
        folder: the root of the image folder.
        cache: the folder for decoded pixels; a warning is given if it cannot be written.

    Raises:
        DataError: the folder is not as `adv.data.names.check_name` expects it, a class has fewer
            than two training images, an image is a broken link, or an image cannot be read.
    """
    names = class_names(folder)
    skipped: Counter[str] = Counter()
    entries = [_list_files(folder / split, names, skipped) for split in SPLITS]
    labels = [np.array([label for _, label in split], dtype=np.int64) for split in entries]
    for name, count in zip(names, np.bincount(labels[0], minlength=len(names)), strict=True):
        if count < 2:
            raise DataError(
                f"{folder / 'train' / name}: {count} image, at least 2 are needed "
                "(one to train on, one to validate on)"
            )
    files = [entry for split in entries for entry, _ in split]
    if skipped:
        _warn(_describe_skipped(folder, skipped, len(files)))
    pixels = _pixels(folder.resolve(), files, cache)
    per_split = pixels[: len(entries[0])], pixels[len(entries[0]) :]
    return tuple(map(to_one_line, names)), list(zip(per_split, labels, strict=True))


def _list_files(
    split: Path, names: tuple[str, ...], skipped: Counter[str]
) -> list[tuple[os.DirEntry[str], int]]:
    skipped.update(stray_files(split))
    return [
        (entry, label)
        for label, name in enumerate(names)
        for entry in sorted(image_files(split / name, skipped), key=lambda entry: entry.name)
    ]


def _describe_skipped(folder: Path, skipped: Counter[str], read: int) -> str:
    kinds = [f"{kind} ({count:,})" for kind, count in skipped.most_common()]
    count = skipped.total()
    return (
        f"{folder}: {count:,} of {count + read:,} entries are left out: {abbreviate(kinds)}. "
        f"Images in class folders are read if they end in {', '.join(SUFFIXES)}"
    )


def _warn(message: str) -> None:
    # Not `warnings.warn`, which would print a line of this file after the message.
    warnings.warn_explicit(to_one_line(message), UserWarning, "adv.data", 0)


def _pixels(folder: Path, files: list[os.DirEntry[str]], cache: Path) -> Pixels:
    """Return the decoded pixels of `files`, from the cache if it holds exactly these files."""
    # One file for each folder, named by a hash of its path: a changed folder replaces its old
    # pixels.
    path_hash = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    cached = cache / f"{folder.name}-{path_hash}.npz"
    key = _key(files)
    pixels = _load_cached(cached, key, len(files))
    if pixels is None:
        pixels = _decode_all([entry.path for entry in files], folder.name)
        _save_cached(cached, key, pixels)
    return pixels


def _key(files: list[os.DirEntry[str]]) -> str:
    digest = hashlib.sha256(_VERSION.encode())
    for entry in files:
        split, label, name = entry.path.split(os.sep)[-3:]
        try:
            stat = entry.stat()
        except OSError as error:
            raise DataError(f"{entry.path}: cannot be read: {error.strerror or error}") from error
        line = f"{split}/{label}/{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
        digest.update(os.fsencode(line))
    return digest.hexdigest()


def _load_cached(path: Path, key: str, count: int) -> Pixels | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as cached:
            pixels: Pixels | None = cached["pixels"] if str(cached["key"]) == key else None
    except Exception:  # zipfile and numpy raise a dozen types; decode again in any case.
        return None
    if pixels is None or pixels.shape != (count, 3, SIDE, SIDE) or pixels.dtype != np.uint8:
        return None
    return pixels


def _save_cached(path: Path, key: str, pixels: Pixels) -> None:
    try:
        with partial_file(path) as partial, partial.open("wb") as file:
            np.savez(file, key=np.array(key), pixels=pixels)
    except OSError as error:
        _warn(
            f"decoded images cannot be cached in {path.parent} ({error.strerror or error}): "
            "they will be decoded again next time"
        )


def _decode_all(paths: list[str], title: str) -> Pixels:
    pixels = np.empty((len(paths), 3, SIDE, SIDE), dtype=np.uint8)
    for row, path in zip(pixels, _with_progress(paths, f"decoding {title}"), strict=True):
        row[:] = decode(path)
    return pixels


def _with_progress(paths: list[str], title: str) -> Iterable[str]:
    if len(paths) < _PROGRESS_FROM or not sys.stderr.isatty():
        return paths
    from rich.markup import escape
    from rich.progress import track

    from adv.terminal.console import open_console

    title = escape(to_one_line(title))
    return track(paths, title, console=open_console(stderr=True), transient=True)
