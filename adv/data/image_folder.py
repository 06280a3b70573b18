"""Reads an image-folder tree (train/<class>/*, test/<class>/*) and keeps the decoded pixels.

Decoding is slow and is paid once: the pixels go into one .npz under the cache folder and are
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

from adv.data.names import PARTS, DataError, classes, images
from adv.files import partial_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Labels = NDArray[np.int64]

SIDE = 32
_FORMAT = "32 px, 1"  # Part of the cache's key: change it when the decoding changes.
_MANY = 2000  # Images from which a progress bar is worth its line: half a second at least.


def read(folder: Path, cache: Path) -> tuple[tuple[str, ...], list[tuple[Pixels, Labels]]]:
    """The class names, then (pixels uint8 [n, 3, 32, 32], labels int64 [n]) of train and of test.

    Every image is brought to RGB, turned as its EXIF tag says, its shorter side resized to 32
    (bilinear with antialiasing) and cropped to the centre; a 32 x 32 image stays as it is.
    `cache` is the folder for decoded pixels; where it cannot be written a warning is given.

    Raises:
        DataError: the tree is not as `adv.data.names.check` wants it, a class has fewer than two
            training images, or an image cannot be read.
    """
    names = classes(folder)
    listed = [_listed(folder / part, names) for part in PARTS]
    labels = [np.array([label for _, label in part], dtype=np.int64) for part in listed]
    for name, count in zip(names, np.bincount(labels[0], minlength=len(names)), strict=True):
        if count < 2:
            raise DataError(
                f"{folder / 'train' / name}: {count} image, at least 2 are needed "
                "(one to train on, one to validate on)"
            )
    files = [entry for part in listed for entry, _ in part]
    pixels = _pixels(folder.resolve(), files, cache)
    halves = pixels[: len(listed[0])], pixels[len(listed[0]) :]
    return names, list(zip(halves, labels, strict=True))


def _listed(part: Path, names: tuple[str, ...]) -> list[tuple[os.DirEntry[str], int]]:
    return [
        (entry, label)
        for label, name in enumerate(names)
        for entry in sorted(images(part / name), key=lambda entry: entry.name)
    ]


def _pixels(folder: Path, files: list[os.DirEntry[str]], cache: Path) -> Pixels:
    """Decoded pixels of `files`, from the cache where it holds just these files."""
    # One file for each folder, named by its place: a changed folder replaces its old pixels.
    place = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    kept = cache / f"{folder.name}-{place}.npz"
    key = _key(files)
    pixels = _kept(kept, key, len(files))
    if pixels is None:
        pixels = _decoded([entry.path for entry in files], folder.name)
        _keep(kept, key, pixels)
    return pixels


def _key(files: list[os.DirEntry[str]]) -> str:
    digest = hashlib.sha256(_FORMAT.encode())
    for entry in files:
        part, label, name = entry.path.split(os.sep)[-3:]
        stat = entry.stat()
        line = f"{part}/{label}/{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
        digest.update(os.fsencode(line))
    return digest.hexdigest()


def _kept(path: Path, key: str, count: int) -> Pixels | None:
    try:
        with np.load(path, allow_pickle=False) as kept:
            pixels: Pixels | None = kept["pixels"] if str(kept["key"]) == key else None
    except Exception:  # zipfile and numpy raise a dozen types; whatever it is, decode again.
        return None
    if pixels is None or pixels.shape != (count, 3, SIDE, SIDE) or pixels.dtype != np.uint8:
        return None
    return pixels


def _keep(path: Path, key: str, pixels: Pixels) -> None:
    try:
        with partial_file(path) as partial, partial.open("wb") as file:
            np.savez(file, key=np.array(key), pixels=pixels)
    except OSError as error:
        warnings.warn(
            f"decoded images cannot be kept in {path.parent} ({error.strerror or error}): "
            "they are decoded again next time",
            stacklevel=2,
        )


def _decoded(paths: list[str], title: str) -> Pixels:
    pixels = np.empty((len(paths), 3, SIDE, SIDE), dtype=np.uint8)
    for row, path in zip(pixels, _watched(paths, f"decoding {title}"), strict=True):
        row[:] = decode(path)
    return pixels


def _watched(paths: list[str], title: str) -> Iterable[str]:
    if len(paths) < _MANY or not sys.stderr.isatty():
        return paths
    from rich.console import Console
    from rich.progress import track

    return track(paths, title, console=Console(stderr=True), transient=True)


def decode(path: str) -> Pixels:
    """One image file as uint8 [3, 32, 32].

    Raises:
        DataError: no image, a damaged one, or one of more than 8 bits per channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):  # PIL would clip these at 255, not scale them.
                raise DataError(f"{path}: more than 8 bits per channel; convert it to 8 bits")
            upright = ImageOps.exif_transpose(image).convert("RGB")
            fitted = ImageOps.fit(upright, (SIDE, SIDE), method=Image.Resampling.BILINEAR)
            return np.asarray(fitted).transpose(2, 0, 1)
    except DataError:
        raise
    except Exception as error:  # PIL's readers raise OSError, SyntaxError, struct.error, ...
        raise DataError(f"{path}: cannot be read as an image: {error}") from error
