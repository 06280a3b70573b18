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

NAMES = (
    *("digits", "cifar10", "cifar100", "mnist", "fashion-mnist", "svhn", "stl10", "gtsrb"),
    *("eurosat", "tiny-imagenet", "marked-digits"),
)
DATA_HELP = (
    f"{', '.join(NAMES)}; a folder with train/<class>/*, test/<class>/* and perhaps val/<class>/*, "
    "or with <class>/*; FILE.npz; FILE.py:FUNCTION, which is run; or hf:OWNER/NAME"
)
HUGGING_FACE = "hf:"
_VALIDATION = ("validation", "val", "valid")  # The names of a folder of validation images.
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class DataError(ValueError):
    """A data set cannot be used; the message says why in one line, which any output can hold."""

    def __init__(self, message: str) -> None:
        super().__init__(to_one_line(message))


def kind_of(name: str) -> str:
    """Return what a name stands for: "known", "hub", "function", "arrays" or "folder".

    A known name takes precedence over a folder of the same name; write `./digits` for the folder.
    """
    if name in NAMES:
        return "known"
    if name.startswith(HUGGING_FACE):
        return "hub"
    if ".py:" in name:
        return "function"
    return "arrays" if name.lower().endswith(".npz") else "folder"


def resolve_name(name: str) -> str:
    """Return the name of a known set or of one of the hub as it is, that of a file as absolute."""
    if kind_of(name) in ("known", "hub"):
        return name
    file, colon, function = name.rpartition(":") if kind_of(name) == "function" else (name, "", "")
    return f"{Path(os.path.expanduser(file)).absolute()}{colon}{function}"


def check_run(name: str, named_by: str) -> None:
    """Raise DataError if reading the data would run a file that the user has not named.

    Args:
        name: of the data.
        named_by: the run folder or checkpoint that holds the name.
    """
    if kind_of(name) == "function":
        raise DataError(
            f"{named_by} was made with data from {name}, a file that would be run: to allow it, "
            f"say --data {name}, or --trust-code"
        )


def check_name(name: str) -> None:
    """Raise DataError unless `name` is that of a data set (`DATA_HELP`).

    Only folder listings are read, no pixels, and nothing is run.

    Raises:
        DataError: an unknown name or a missing file; or a folder with fewer than two classes, with
            different classes in its splits, or with a class that has no image.
    """
    kind = kind_of(name)
    if kind == "known":
        return
    if kind == "hub":
        if not name.removeprefix(HUGGING_FACE).strip("/"):
            raise DataError("hf: is followed by OWNER/NAME, such as hf:ylecun/mnist")
        return
    if kind in ("arrays", "function"):
        file, _, function = name.rpartition(".py:") if kind == "function" else (name, "", "x")
        path = os.path.expanduser(f"{file}.py" if kind == "function" else name)
        if not os.path.isfile(path):
            raise DataError(f"{path}: no such file of data")
        if not function.isidentifier():
            raise DataError(f"{name}: write FILE.py:FUNCTION")
        return
    # Unlike pathlib, os.path takes any name: too long, of an unknown user, in a closed folder.
    folder = os.path.expanduser(name)
    if name and os.path.isdir(folder):
        class_names(Path(folder))
        return
    raise DataError(
        f"unknown data {name!r}{suggest(name.lower(), NAMES) or '.'} Known: {DATA_HELP}"
    )


def split_folders(folder: Path) -> dict[str, Path]:
    """Return the folder of each split of an image folder, by its name.

    They are `train` and, where they are there, `validation` (in val/, valid/ or validation/) and
    `test`. A folder without train/ has its classes in it and is `train` itself.

    Raises:
        DataError: a folder test/ without train/.
    """
    found = {name: folder / name for name in ("train", "test") if (folder / name).is_dir()}
    if "train" not in found:
        if found:
            raise DataError(
                f"{folder}: no folder train/ in it; expected train/<class>/* and test/<class>/*"
            )
        return {"train": folder}
    for name in _VALIDATION:
        if (folder / name).is_dir():
            found["validation"] = folder / name
    return found


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the sorted class names of an image folder.

    Raises:
        DataError: as in `check_name`.
    """
    splits = split_folders(folder)
    classes = {name: _subfolders(path) for name, path in splits.items()}
    train = classes["train"]
    for split, names in classes.items():
        if names != train:
            unmatched = [f"{name!r} is only in train" for name in sorted(train - names)]
            unmatched += [f"{name!r} is only in {split}" for name in sorted(names - train)]
            raise DataError(
                f"{folder}: train and {split} have different classes: {abbreviate(unmatched)}"
            )
    if len(train) < 2:
        hint = "" if "test" in splits else " (train/<class>/* and test/<class>/*, or <class>/*)"
        raise DataError(
            f"{splits['train']}: {len(train)} class folders, at least 2 are needed{hint}"
        )
    for path in splits.values():
        for name in sorted(train):
            if next(image_files(path / name), None) is None:
                suffixes = ", ".join(SUFFIXES)
                raise DataError(f"{path / name}: no image in this class ({suffixes})")
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


def _subfolders(split: Path) -> set[str]:
    entries = list(_entries(split))
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
