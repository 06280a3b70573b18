"""Check the name of a data set without importing torch.

The command line checks it before it loads anything slow; `adv.data.datasets` reads the pixels.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from adv.one_line import to_one_line
from adv.suggestions import suggest

NAMES = ("digits", "cifar10", "cifar100")
SPLITS = ("train", "test")
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class DataError(ValueError):
    """A data set cannot be used; the message says why in one line, which any output can hold."""

    def __init__(self, message: str) -> None:
        super().__init__(to_one_line(message))


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
    # Unlike pathlib, os.path takes any name: too long, of an unknown user, in a closed folder.
    folder = os.path.expanduser(name)
    if name and os.path.isdir(folder):
        class_names(Path(folder))
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
        raise DataError(f"{folder}: train and test have different classes: {abbreviate(unmatched)}")
    if len(train) < 2:
        raise DataError(f"{folder / 'train'}: {len(train)} class folders, at least 2 are needed")
    for split in SPLITS:
        for name in sorted(train):
            if next(image_files(folder / split / name), None) is None:
                suffixes = ", ".join(SUFFIXES)
                raise DataError(f"{folder / split / name}: no image in this class ({suffixes})")
    return tuple(sorted(train))


def image_files(folder: Path, skipped: Counter[str] | None = None) -> Iterator[os.DirEntry[str]]:
    """Yield the image files directly in `folder`, by suffix, unordered; hidden files are skipped.

    Args:
        folder: the folder of a class.
        skipped: counts by suffix, raised for every entry that is not an image file.

    Raises:
        DataError: the folder cannot be read; or, after the last file, an image is a broken link.
    """
    broken = []
    for entry in _entries(folder):
        if entry.name.lower().endswith(SUFFIXES):
            if _is_broken(entry):
                broken.append(entry.path)
            elif entry.is_file():
                yield entry
                continue
        if skipped is not None:
            skipped[_kind(entry)] += 1
    _refuse_broken(broken)


def stray_files(split: Path) -> Counter[str]:
    """Count the files beside the class folders of a split, by suffix: no image is read there."""
    return Counter(
        f"{_kind(entry)} beside the class folders"
        for entry in _entries(split)
        if not entry.is_dir()
    )


def _subfolders(folder: Path, split: str) -> set[str]:
    if not (folder / split).is_dir():
        raise DataError(
            f"{folder}: no folder {split}/ in it; expected train/<class>/* and test/<class>/*"
        )
    entries = list(_entries(folder / split))
    _refuse_broken(sorted(entry.path for entry in entries if _is_broken(entry)))
    return {entry.name for entry in entries if entry.is_dir()}


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            # Desktops and notebooks leave hidden files behind (`._0001.jpg`), which are not data.
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from error


def _is_broken(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a link to nothing, to itself, or into a closed folder."""
    return entry.is_symlink() and not os.path.exists(entry.path)


def _refuse_broken(paths: list[str]) -> None:
    if paths:
        count = f"{len(paths)} broken links" if len(paths) > 1 else "a broken link"
        raise DataError(
            f"{count}: {abbreviate(sorted(paths))}: restore what they lead to, or delete them"
        )


def _kind(entry: os.DirEntry[str]) -> str:
    if not _is_broken(entry) and entry.is_dir():
        return "folders"
    return os.path.splitext(entry.name)[1].lower()[:20] or "without a suffix"


def abbreviate(items: list[str], most: int = 4) -> str:
    """Join at most `most` of the items, so that a message stays one line."""
    rest = len(items) - most
    return ", ".join(items[:most]) + (f" and {rest} more" if rest > 0 else "")
