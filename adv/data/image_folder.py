"""Read an image folder (train/<class>/*, test/<class>/*) and cache the decoded pixels.

Decoding is slow and is done once: the pixels are stored as one .npz in the cache folder, and are
decoded again when a file was added, removed, resized or touched. A set too large for the memory is
decoded into the file that `adv.data.assemble` maps.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adv.data import assemble
from adv.data.image_file import decode, describe_kind
from adv.data.made_split import split_files
from adv.data.names import (
    SUFFIXES,
    DataError,
    abbreviate,
    class_names,
    image_files,
    split_folders,
    stray_files,
)
from adv.data.raw import RawData, RawSplit
from adv.files import partial_file
from adv.one_line import to_one_line
from adv.shape import DEFAULT_SHAPE, Shape, format_shape, parse_image_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Labels = NDArray[np.int64]

_VERSION = "4"  # Part of the cache's key: change it whenever the decoding changes.
_PROGRESS_FROM = 2000  # Images, half a second or more, from which a progress bar is shown.
_OWN_SIZE = 224  # Pixels of a side up to which images of one size keep it, if nobody says another.


@dataclass
class ImageFiles(Sequence["Pixels"]):
    """Image files that are decoded when they are asked for."""

    paths: list[str]
    shape: Shape

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        return decode(self.paths[index], self.shape)


@dataclass
class _Listing:
    """The files and labels of each split of a folder, in the order of their names."""

    files: dict[str, list[str]] = field(default_factory=dict)
    labels: dict[str, Labels] = field(default_factory=dict)

    @property
    def every(self) -> list[str]:
        return [path for files in self.files.values() for path in files]


def load_image_folder(folder: Path, cache: Path, image_size: str = "") -> RawData:
    """Return the images of a folder; `decode` says how they come from the files.

    Without `image_size` images of one size keep it, up to 224 pixels a side, and all others become
    3x32x32; an image of the resulting size without transparency is unchanged. Of a folder without
    test/ a fifth of the images is the test split (`adv.data.made_split`). A warning counts the
    files that are left out.

    Args:
        folder: the root of the image folder.
        cache: the folder for decoded pixels; a warning is given if it cannot be written.
        image_size: as `adv.shape.parse_image_size` takes it.

    Raises:
        DataError: the folder is not as `adv.data.names.check_name` expects it, a class has fewer
            than two training images, an image is a broken link, or an image cannot be read.
    """
    names = class_names(folder)
    listing, notes = _list_splits(folder, names, cache)
    return read_files(str(folder), names, listing.files, listing.labels, cache, image_size, notes)


def find_shape(folder: Path, image_size: str = "") -> Shape:
    """Return the shape that the images of a folder get; only their headers are read."""
    names = class_names(folder)
    files = [
        entry.path
        for split in split_folders(folder).values()
        for name in names
        for entry in image_files(split / name)
    ]
    return _choose_shape(len(files), image_size, _scan(files))[0]


def read_files(
    name: str,
    classes: tuple[str, ...],
    files: dict[str, list[str]],
    labels: dict[str, Labels],
    cache: Path,
    image_size: str,
    notes: list[str],
) -> RawData:
    """Return a data set of image files, whose pixels are cached.

    Args:
        name: of the data set, or the path of its folder.
        classes: names by label.
        files: paths of each split.
        labels: of each split.
        cache: the folder for decoded pixels.
        image_size: as `adv.shape.parse_image_size` takes it.
        notes: what is already known.
    """
    every = [path for split in files.values() for path in split]
    # One file for each folder, named by a hash of its path: a changed folder replaces its old
    # pixels.
    root = Path(name).resolve() if os.path.isdir(name) else Path(name)
    path_hash = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    base = cache / f"{root.name}-{path_hash}"
    cached, key = base.with_name(f"{base.name}.npz"), _key(every)
    kept = _load_cached(cached, key)
    scan = kept.scan if kept else _scan(every)
    shape, more = _choose_shape(len(every), image_size, scan)
    images: dict[str, ImageFiles | Pixels]
    if len(every) * int(np.prod(shape)) >= assemble.MAP_FROM:
        if not kept:
            _save_cached(cached, key, scan, np.zeros(0, np.uint8))
        images = {split: ImageFiles(paths, shape) for split, paths in files.items()}
    else:
        pixels = kept.pixels if kept else None
        if pixels is None or pixels.shape != (len(every), *shape):
            pixels = _decode_all(every, root.name, shape)
            _save_cached(cached, key, scan, pixels)
        ends = np.cumsum([len(paths) for paths in files.values()])
        images = dict(zip(files, np.split(pixels, ends[:-1]), strict=True))
    splits = {split: RawSplit(images[split], labels[split]) for split in files}
    shown = tuple(map(to_one_line, classes))
    return RawData(name, shown, shape, splits, (*notes, *more), key)


def _list_splits(folder: Path, names: tuple[str, ...], cache: Path) -> tuple[_Listing, list[str]]:
    skipped: Counter[str] = Counter()
    listing, notes = _Listing(), []
    for split, path in split_folders(folder).items():
        entries = _list_files(path, names, skipped)
        listing.files[split] = [entry.path for entry, _ in entries]
        listing.labels[split] = np.array([label for _, label in entries], dtype=np.int64)
    if "test" not in listing.files:
        paths, labels = listing.files["train"], listing.labels["train"]
        train, test, note = split_files(folder, paths, labels, cache)
        for split, rows in (("train", train), ("test", test)):
            listing.files[split] = [paths[row] for row in rows]
            listing.labels[split] = labels[rows]
        notes.append(note)
    counts = np.bincount(listing.labels["train"], minlength=len(names))
    for name, count in zip(names, counts, strict=True):
        if count < 2 and "validation" not in listing.files:
            raise DataError(
                f"{split_folders(folder)['train'] / name}: {count} image, at least 2 are needed "
                "(one to train on, one to validate on)"
            )
    if skipped:
        _warn(_describe_skipped(folder, skipped, len(listing.every)))
    return listing, notes


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


def _scan(paths: list[str]) -> dict[str, Any]:
    """Return the smallest and the largest size of the images, and how many are of which kind."""
    kinds: Counter[str] = Counter()
    sizes = set()
    for image in _with_progress(paths, "looking at image sizes"):
        size, kind = describe_kind(image)
        sizes.add(size)
        kinds[kind] += 1
    del kinds[""]
    order = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    return {"low": order[0], "high": order[-1], "kinds": dict(kinds)}


def _choose_shape(count: int, image_size: str, scan: dict[str, Any]) -> tuple[Shape, list[str]]:
    """Return the shape that the images get, and what is done to them, a line each."""
    low, high = (tuple(scan[end]) for end in ("low", "high"))
    if image_size:
        channels, height, width = parse_image_size(image_size)
    elif low == high and max(low) <= _OWN_SIZE:
        channels, (height, width) = None, low
    else:
        channels, height, width = DEFAULT_SHAPE
    notes = [f"{kind}: {found:,} of {count:,} images" for kind, found in scan["kinds"].items()]
    if (height, width) not in (low, high) or low != high:
        sizes = format_shape(low) if low == high else f"{format_shape(low)} to {format_shape(high)}"
        hint = "" if image_size else "; --image-size sets another size"
        notes.append(
            f"images of {sizes} are cropped and resized to {format_shape((height, width))}{hint}"
        )
    return (channels or 3, height, width), notes


def _key(paths: list[str]) -> str:
    digest = hashlib.sha256(_VERSION.encode())
    for path in paths:
        split, label, name = path.split(os.sep)[-3:]
        try:
            stat = os.stat(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        line = f"{split}/{label}/{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
        digest.update(os.fsencode(line))
    return digest.hexdigest()


@dataclass(frozen=True)
class _Kept:
    """The content of a folder's cache: sizes and kinds of the images, and their pixels."""

    scan: dict[str, Any]
    pixels: Pixels


def _load_cached(path: Path, key: str) -> _Kept | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as cached:
            if str(cached["key"]) != key or cached["pixels"].dtype != np.uint8:
                return None
            scan = json.loads(str(cached["scan"]))
            return _Kept({name: scan[name] for name in ("low", "high", "kinds")}, cached["pixels"])
    except Exception:  # zipfile and numpy raise a dozen types; decode again in any case.
        return None


def _save_cached(path: Path, key: str, scan: dict[str, Any], pixels: Pixels) -> None:
    try:
        with partial_file(path) as partial, partial.open("wb") as file:
            text = np.array(json.dumps(scan))
            np.savez(file, key=np.array(key), scan=text, pixels=pixels)
    except OSError as error:
        _warn(
            f"decoded images cannot be cached in {path.parent} ({error.strerror or error}): "
            "they will be decoded again next time"
        )


def _decode_all(paths: list[str], title: str, shape: Shape) -> Pixels:
    pixels = np.empty((len(paths), *shape), dtype=np.uint8)
    for row, path in zip(pixels, _with_progress(paths, f"decoding {title}"), strict=True):
        row[:] = decode(path, shape)
    return pixels


def _with_progress(paths: list[str], title: str) -> Iterable[str]:
    if len(paths) < _PROGRESS_FROM or not sys.stderr.isatty():
        return paths
    from rich.markup import escape
    from rich.progress import track

    from adv.terminal.console import open_console

    title = escape(to_one_line(title))
    return track(paths, title, console=open_console(stderr=True), transient=True)
