"""Which data sets there are, and whether a name means one: cheap, without torch.

The command line asks this before it loads anything heavy; `adv/data/datasets.py` then reads the pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from adv.suggestions import suggest

NAMES = ("digits", "cifar10", "cifar100")
PARTS = ("train", "test")
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class DataError(ValueError):
    """What is wrong with a data set, in one line."""


def check(name: str) -> None:
    """Make sure that `name` is one of `NAMES` or an image folder: reads folder listings, no pixels.

    A known name goes before a folder of the same name; write `./digits` for the folder.

    Raises:
        DataError: neither; or a folder without train/<class>/<image> and test/<class>/<image>,
            with fewer than two classes, with other classes in test than in train, or with a class
            that has no image.
    """
    if name in NAMES:
        return
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        classes(folder)
        return
    raise DataError(
        f"unknown data {name!r}{suggest(name.lower(), NAMES) or '.'} "
        f"Known: {', '.join(NAMES)}, or a folder with train/<class>/* and test/<class>/*"
    )


def classes(folder: Path) -> tuple[str, ...]:
    """The class names of an image-folder tree, sorted.

    Raises:
        DataError: as in `check`.
    """
    train, test = (_subfolders(folder, part) for part in PARTS)
    if train != test:
        lonely = [f"{name!r} is only in train" for name in sorted(train - test)]
        lonely += [f"{name!r} is only in test" for name in sorted(test - train)]
        raise DataError(f"{folder}: train and test have different classes: {_some(lonely)}")
    if len(train) < 2:
        raise DataError(f"{folder / 'train'}: {len(train)} class folders, at least 2 are needed")
    for part in PARTS:
        for name in sorted(train):
            if next(images(folder / part / name), None) is None:
                wanted = ", ".join(SUFFIXES)
                raise DataError(f"{folder / part / name}: no image in this class ({wanted})")
    return tuple(sorted(train))


def images(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The image files right in `folder`, by suffix, in no particular order; hidden ones are none.

    Raises:
        DataError: the folder cannot be read.
    """
    for entry in _entries(folder):
        if entry.name.lower().endswith(SUFFIXES) and entry.is_file():
            yield entry


def _subfolders(folder: Path, part: str) -> set[str]:
    if not (folder / part).is_dir():
        raise DataError(
            f"{folder}: no folder {part}/ in it; wanted train/<class>/* and test/<class>/*"
        )
    return {entry.name for entry in _entries(folder / part) if entry.is_dir()}


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            # Hidden entries are left behind by desktops and notebooks (`._0001.jpg`), never data.
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from error


def _some(parts: list[str], most: int = 4) -> str:
    """At most `most` of the parts, so that the message stays one line."""
    rest = len(parts) - most
    return ", ".join(parts[:most]) + (f" and {rest} more" if rest > 0 else "")
