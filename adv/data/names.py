"""Check the name of a data set without importing torch.

The command line checks it before it loads anything slow; `adv.data.datasets` reads the pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from adv.suggestions import suggest

NAMES = ("digits", "cifar10", "cifar100")
SPLITS = ("train", "test")
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class DataError(ValueError):
    """A data set cannot be used; the message says why in one line."""


def check_name(name: str) -> None:
    """Raise DataError unless `name` is one of `NAMES` or an image folder.

    Only folder listings are read, no pixels. A known name takes precedence over a folder of the
    same name; write `./digits` for the folder.

    Raises:
        DataError: neither; or a folder without train/<class>/<image> and test/<class>/<image>, with
            fewer than two classes, with different classes in train and test, or with a class that
            has no image.
    """
    if name in NAMES:
        return
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        class_names(folder)
        return
    raise DataError(
        f"unknown data {name!r}{suggest(name.lower(), NAMES) or '.'} "
        f"Known: {', '.join(NAMES)}, or a folder with train/<class>/* and test/<class>/*"
    )


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the sorted class names of an image folder.

    Raises:
        DataError: as in `check_name`.
    """
    train, test = (_subfolders(folder, split) for split in SPLITS)
    if train != test:
        unmatched = [f"{name!r} is only in train" for name in sorted(train - test)]
        unmatched += [f"{name!r} is only in test" for name in sorted(test - train)]
        raise DataError(
            f"{folder}: train and test have different classes: {_abbreviate(unmatched)}"
        )
    if len(train) < 2:
        raise DataError(f"{folder / 'train'}: {len(train)} class folders, at least 2 are needed")
    for split in SPLITS:
        for name in sorted(train):
            if next(image_files(folder / split / name), None) is None:
                suffixes = ", ".join(SUFFIXES)
                raise DataError(f"{folder / split / name}: no image in this class ({suffixes})")
    return tuple(sorted(train))


def image_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the image files directly in `folder`, by suffix, unordered; hidden files are skipped.

    Raises:
        DataError: the folder cannot be read.
    """
    for entry in _entries(folder):
        if entry.name.lower().endswith(SUFFIXES) and entry.is_file():
            yield entry


def _subfolders(folder: Path, split: str) -> set[str]:
    if not (folder / split).is_dir():
        raise DataError(
            f"{folder}: no folder {split}/ in it; expected train/<class>/* and test/<class>/*"
        )
    return {entry.name for entry in _entries(folder / split) if entry.is_dir()}


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            # Desktops and notebooks leave hidden files behind (`._0001.jpg`), which are not data.
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from error


def _abbreviate(items: list[str], most: int = 4) -> str:
    """Join at most `most` of the items, so that a message stays one line."""
    rest = len(items) - most
    return ", ".join(items[:most]) + (f" and {rest} more" if rest > 0 else "")
