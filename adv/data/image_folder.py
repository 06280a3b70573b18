"""Read an image folder (train/<class>/*, test/<class>/*) and cache the decoded pixels.

Decoding is slow and is done once: the pixels are stored as one .npz in the cache folder, and are
decoded again when a file was added, removed, resized or touched.
"""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adv.data.names import SPLITS, DataError, class_names, image_files
from adv.files import partial_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Labels = NDArray[np.int64]

SIDE = 32
_VERSION = "32 px, 1"  # Part of the cache's key: change it whenever the decoding changes.
_PROGRESS_FROM = 2000  # Images, half a second or more, from which a progress bar is shown.


def load_image_folder(
    folder: Path, cache: Path
) -> tuple[tuple[str, ...], list[tuple[Pixels, Labels]]]:
    """Return the class names, and the (images, labels) of train and of test.

    Images are uint8 [n, 3, 32, 32], labels int64 [n]. Every image is converted to RGB, rotated as
    its EXIF tag says, resized so that its shorter side is 32 (bilinear with antialiasing), and
    cropped to the centre; a 32 x 32 image is unchanged.

    Args:
        folder: the root of the image folder.
        cache: the folder for decoded pixels; a warning is given if it cannot be written.

    Raises:
        DataError: the folder is not as `adv.data.names.check_name` expects it, a class has fewer
            than two training images, or an image cannot be read.
    """
    names = class_names(folder)
    entries = [_list_files(folder / split, names) for split in SPLITS]
    labels = [np.array([label for _, label in split], dtype=np.int64) for split in entries]
    for name, count in zip(names, np.bincount(labels[0], minlength=len(names)), strict=True):
        if count < 2:
            raise DataError(
                f"{folder / 'train' / name}: {count} image, at least 2 are needed "
                "(one to train on, one to validate on)"
            )
    files = [entry for split in entries for entry, _ in split]
    pixels = _pixels(folder.resolve(), files, cache)
    per_split = pixels[: len(entries[0])], pixels[len(entries[0]) :]
    return names, list(zip(per_split, labels, strict=True))


def _list_files(split: Path, names: tuple[str, ...]) -> list[tuple[os.DirEntry[str], int]]:
    return [
        (entry, label)
        for label, name in enumerate(names)
        for entry in sorted(image_files(split / name), key=lambda entry: entry.name)
    ]


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
        stat = entry.stat()
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
        warnings.warn(
            f"decoded images cannot be cached in {path.parent} ({error.strerror or error}): "
            "they will be decoded again next time",
            stacklevel=2,
        )


def _decode_all(paths: list[str], title: str) -> Pixels:
    pixels = np.empty((len(paths), 3, SIDE, SIDE), dtype=np.uint8)
    for row, path in zip(pixels, _with_progress(paths, f"decoding {title}"), strict=True):
        row[:] = decode(path)
    return pixels


def _with_progress(paths: list[str], title: str) -> Iterable[str]:
    if len(paths) < _PROGRESS_FROM or not sys.stderr.isatty():
        return paths
    from rich.progress import track

    from adv.terminal.console import open_console

    return track(paths, title, console=open_console(stderr=True), transient=True)


def decode(path: str) -> Pixels:
    """Decode one image file to uint8 [3, 32, 32].

    Raises:
        DataError: not an image, a damaged one, or one of more than 8 bits per channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):  # PIL would clip these at 255, not scale them.
                raise DataError(f"{path}: more than 8 bits per channel; convert it to 8 bits")
            upright = ImageOps.exif_transpose(image).convert("RGB")
            cropped = ImageOps.fit(upright, (SIDE, SIDE), method=Image.Resampling.BILINEAR)
            return np.asarray(cropped).transpose(2, 0, 1)
    except DataError:
        raise
    except Exception as error:  # PIL's readers raise OSError, SyntaxError, struct.error, ...
        raise DataError(f"{path}: cannot be read as an image: {error}") from error
