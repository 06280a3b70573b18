"""Put a data set in its final order: three splits, each in stratified order, in memory or mapped.

A set as large as `MAP_FROM` never is in memory as a whole: its images are written to one .npy file
in their final order, image by image, and the splits are slices of the mapped file.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from adv.data.names import DataError
from adv.data.raw import RawData, RawSplit, check_splits
from adv.data.summary import test_size, validation_size
from adv.files import partial_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAP_FROM = 2**30  # Bytes of pixels from which a set is mapped from a file.
_SPLIT_SEED = 20_240_613  # Any constant; a new one would change every score, so never change it.

Rows = tuple[str, "NDArray[np.int64]"]
"""The name of a raw split, and rows of it."""


def stratified_order(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a fixed random order of images in which all classes are spread evenly.

    The k-th image (from 0) of a class of n images falls at a random position in [k/n, (k+1)/n) of
    the order, so every section of it holds each class in nearly its overall proportion; classes of
    equal size alternate exactly. The first images of all classes come first, so that even a short
    head holds every class.

    Args:
        labels: the class of each image, [n].

    Returns:
        The n indices in order, always the same for the same labels.
    """
    generator = np.random.default_rng(_SPLIT_SEED)
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        turns = np.arange(len(members)) + generator.random(len(members))
        position[members] = turns / len(members)
        position[members[0]] -= 1
    return np.argsort(position, kind="stable")


def choose_rows(raw: RawData) -> dict[str, Rows]:
    """Return which rows of which raw split become train, validation and test, in order.

    Without validation images a tenth of the training images is held out, and at least one of each
    class; the test split is never touched for it.
    """
    check_splits(raw)
    train, test = (stratified_order(raw.splits[name].labels) for name in ("train", "test"))
    if "validation" in raw.splits:
        held_out = ("validation", stratified_order(raw.splits["validation"].labels))
    else:
        count = validation_size(len(raw.classes), len(train))
        held_out, train = ("train", train[:count]), train[count:]
    return {"train": ("train", train), "validation": held_out, "test": ("test", test)}


def split_off_test(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of a set without test images that train, and those that test: a fifth.

    Both are stratified, always the same for the same labels; each class has at least one in both.
    """
    order = stratified_order(labels)
    count = test_size(len(np.unique(labels)), len(order))
    return np.sort(order[count:]), np.sort(order[:count])


@dataclass(frozen=True)
class MappedRows:
    """Rows `start` to `stop` of the images in a .npy file."""

    path: Path
    start: int
    stop: int

    def cut(self, start: int, stop: int) -> MappedRows:
        """Return rows `start` to `stop` of these."""
        last = min(self.start + stop, self.stop)
        return MappedRows(self.path, min(self.start + start, last), last)

    def read(self) -> Tensor:
        """Return the images, bytes [n, c, h, w], which are read from the file as they are used."""
        with warnings.catch_warnings():
            # Of a tensor that cannot be written to. Pixels never are, and pages that could be
            # written would count against a limit on the memory of the process.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            whole = np.load(self.path, mmap_mode="r", allow_pickle=False)
            return torch.from_numpy(whole[self.start : self.stop])


def assemble(
    raw: RawData, cache: Path | None, chosen: Mapping[str, Rows] | None = None
) -> dict[str, tuple[Tensor, Tensor, MappedRows | None]]:
    """Return images uint8 [n, c, h, w], labels int64 [n] and the place in a file of each split.

    Args:
        raw: the data set.
        cache: the folder for the file of a set that is mapped; None: never map.
        chosen: the rows of each split, from `choose_rows`.

    Raises:
        DataError: an image cannot be read or a split cannot be used; or the file cannot be written.
    """
    rows = choose_rows(raw) if chosen is None else chosen
    sizes = [len(part) for _, part in rows.values()]
    places: list[MappedRows | None] = [None] * len(sizes)
    if cache is None or sum(sizes) * int(np.prod(raw.shape)) < MAP_FROM:
        images = [_gather(raw.splits[name], part, raw) for name, part in rows.values()]
    else:
        path, ends = _write_pixels(raw, rows, cache), accumulate(sizes)
        mapped = [MappedRows(path, end - size, end) for end, size in zip(ends, sizes, strict=True)]
        images, places = [place.read() for place in mapped], [*mapped]
    labels = [torch.from_numpy(raw.splits[name].labels[part]) for name, part in rows.values()]
    return dict(zip(rows, zip(images, labels, places, strict=True), strict=True))


def _gather(split: RawSplit, rows: NDArray[np.int64], raw: RawData) -> Tensor:
    if isinstance(split.images, np.ndarray):
        return torch.from_numpy(split.images[rows])
    pixels = np.empty((len(rows), *raw.shape), dtype=np.uint8)
    for place, row in zip(pixels, rows, strict=True):
        place[:] = split.images[row]
    return torch.from_numpy(pixels)


def _write_pixels(raw: RawData, rows: Mapping[str, Rows], cache: Path) -> Path:
    """Write all pixels in order to a file, unless the file of a key is there; return its path."""
    shape = (sum(len(part) for _, part in rows.values()), *raw.shape)
    path = cache / f"{_file_key(raw, rows)}.npy"
    if raw.key and _has_shape(path, shape):
        return path
    try:
        with partial_file(path) as partial:
            file = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
            for place, pixels in zip(file, _images(raw, rows), strict=True):
                place[:] = pixels
            file.flush()
    except OSError as error:
        raise DataError(
            f"{raw.name}: its {shape[0]:,} images are mapped from a file, which cannot be written "
            f"to {cache} ({error.strerror or error})"
        ) from error
    return path


def _file_key(raw: RawData, rows: Mapping[str, Rows]) -> str:
    """Return 16 hex digits for the name of a file: of the key, or of the name and the labels."""
    digest = hashlib.sha256(f"{raw.name} {raw.key} {raw.shape}".encode())
    for name, part in rows.values():
        digest.update(raw.splits[name].labels[part].data)
    return digest.hexdigest()[:16]


def _has_shape(path: Path, shape: tuple[int, ...]) -> bool:
    try:
        return bool(np.load(path, mmap_mode="r", allow_pickle=False).shape == shape)
    except (OSError, ValueError):
        return False


def _images(raw: RawData, rows: Mapping[str, Rows]) -> Iterator[NDArray[np.uint8]]:
    for name, part in rows.values():
        for row in part:
            yield raw.splits[name].images[row]
