"""Data sets as uint8 tensors that fit on the device as a whole: digits, CIFAR and image folders.

The validation images are part of the data set: they depend on no seed of the user and on no global
generator, so all trials of all searches are scored on the same images.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adv.data.array_file import load_arrays
from adv.data.assemble import MappedRows, assemble, stratified_order
from adv.data.cache_dir import data_folder
from adv.data.cifar import load_cifar
from adv.data.digits import load_digits
from adv.data.image_folder import load_image_folder
from adv.data.marked_digits import mark_images
from adv.data.names import NAMES, DataError, check_name, kind_of
from adv.data.published import load_published
from adv.data.raw import RawData, RawSplit
from adv.data.resize import fit_images
from adv.data.torch_datasets import load_function, load_hugging_face, read_made
from adv.shape import Shape, format_shape

__all__ = ["NAMES", "Data", "DataError", "Split", "load", "stratified_order"]


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [n, channels, height, width] with labels int64 [n], in `stratified_order`."""

    images: Tensor
    labels: Tensor
    mapped: MappedRows | None = None
    """The file that the images are read from, if there is one: pickles hold this in their place."""

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise ValueError(f"{len(self.images)} images but {len(self.labels)} labels")
        if self.images.dtype != torch.uint8 or self.labels.dtype != torch.int64:
            raise ValueError(
                f"a split has uint8 images and int64 labels, got {self.images.dtype} "
                f"and {self.labels.dtype}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> Shape:
        """Channels, height and width of an image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def head(self, n: int) -> Split:
        """Return the first n images, or all if there are fewer: nearly as balanced as the whole."""
        return self._cut(0, _check_count(n))

    def tail(self, n: int) -> Split:
        """Return the last n images, or all if there are fewer: disjoint from `head(len - n)`."""
        return self._cut(max(0, len(self) - _check_count(n)), len(self))

    def class_counts(self, classes: int) -> tuple[int, ...]:
        """Return the number of images of each class."""
        return tuple(self.labels.bincount(minlength=classes).tolist())

    def to(self, device: torch.device | str) -> Split:
        """Return the same split on `device`."""
        images = self.images.to(device)
        mapped = self.mapped if images is self.images else None
        return Split(images, self.labels.to(device), mapped)

    def _cut(self, start: int, stop: int) -> Split:
        mapped = self.mapped and self.mapped.cut(start, stop)
        return Split(self.images[start:stop], self.labels[start:stop], mapped)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields; a pickle of mapped images would hold the whole file."""
        images = self.images if self.mapped is None else None
        return {"images": images, "labels": self.labels, "mapped": self.mapped}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        mapped: MappedRows | None = state["mapped"]
        images = state["images"] if mapped is None else mapped.read()
        for name, value in {**state, "images": images}.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, eq=False)
class Data:
    """A named data set in three disjoint splits, with the names of its classes by label."""

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """Remarks on changes to the images or the splits, a line each."""

    @property
    def shape(self) -> Shape:
        """Channels, height and width of an image, the same in all splits."""
        return self.train.shape

    def to(self, device: torch.device | str) -> Data:
        """Return the same data on `device`."""
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            test=self.test.to(device),
        )

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the three splits."""
        return fingerprint(self.train, self.validation, self.test)


def fingerprint(*splits: Split) -> str:
    """Return 16 hex digits of a SHA-256 over the sizes, pixels and labels of the splits."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(repr(tuple(split.images.shape)).encode())
        for tensor in (split.images, split.labels):
            digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]


def load(name: str, root: Path | None = None, image_size: str | int = "") -> Data:
    """Read a data set onto the CPU.

    Sizes (train, validation, test): digits, marked or not, 1000, 437, 360; CIFAR 45,000, 5000,
    10,000 (Krizhevsky, "Learning multiple layers of features from tiny images", 2009). Of data
    without a validation split, a tenth of the training images, and at least one of each class, is
    held out for it. Data of a gigabyte or more is mapped from a file in `root`.

    Args:
        name: one of `NAMES`, an image folder, FILE.npz, FILE.py:FUNCTION (which is run), or
            hf:OWNER/NAME (`adv.data.names.DATA_HELP`).
        root: where downloads and decoded pixels are kept; by default the folder that the
            environment variable ROBUSTUNE_DATA names, else `data` in the user's cache folder.
        image_size: 64, 48x64 (height x width) or 1x28x28 (channels first): what every image is
            cropped and resized to; digits get another margin. "": as the data has them.

    Raises:
        ValueError: `image_size` is no size.
        DataError: an unknown name, a failed download, or data that cannot be used.
    """
    check_name(name)
    root, image_size = root or data_folder(), str(image_size)
    if name == "digits":
        return _digits(image_size)
    if name == "marked-digits":
        return _mark(_digits(image_size))
    return _assemble(_read(name, root, image_size), root, image_size)


def from_datasets(made: Any, name: str = "data", image_size: str | int = "") -> Data:
    """Return data given as a torch `Dataset` of (image, label), as two or three, or by split.

    Args:
        made: a `Dataset` with `len`; (train, test), (train, validation, test), or a dictionary with
            these names. The names of the classes are the attribute `classes` of the training set,
            if it has one.
        name: in records.
        image_size: as in `load`.

    Raises:
        DataError: an image or a label cannot be used, or it is something else.
    """
    size = str(image_size)
    return _assemble(read_made(name, made, size), data_folder(), size)


def _assemble(raw: RawData, root: Path, image_size: str) -> Data:
    """Return a data set as its reader found it, with a validation split."""
    splits = assemble(raw, root / "mapped")
    return Data(
        raw.name,
        **{split: Split(*tensors) for split, tensors in splits.items()},
        classes=raw.classes,
        notes=(*raw.notes, *_describe_size(raw, image_size)),
    )


def _describe_size(raw: RawData, image_size: str) -> tuple[str, ...]:
    """Return what an image size does to images that are not read from files, which say it."""
    if not image_size or kind_of(raw.name) == "folder" or raw.key:
        return ()
    return (f"every image is cropped and resized to {format_shape(raw.shape)} (--image-size)",)


def _read(name: str, root: Path, image_size: str) -> RawData:
    """Return a data set as its reader finds it."""
    kind = kind_of(name)
    if kind == "function":
        return load_function(name, image_size)
    if kind == "hub":
        return load_hugging_face(name, image_size)
    if kind == "arrays":
        return load_arrays(name, image_size)
    if kind == "folder":
        folder = Path(os.path.expanduser(name))
        return replace(load_image_folder(folder, root / "folders", image_size), name=name)
    if name not in ("cifar10", "cifar100"):
        return load_published(name, root, image_size)
    classes, parts = load_cifar(name, root)
    splits = {
        split: RawSplit(fit_images(images, image_size), labels)
        for split, (images, labels) in zip(("train", "test"), parts, strict=True)
    }
    return RawData(name, classes, splits["train"].images[0].shape, splits)


def _digits(image_size: str) -> Data:
    images, labels = map(torch.from_numpy, load_digits(image_size))
    order = torch.from_numpy(stratified_order(labels.numpy()))
    train, validation, test = order[797:], order[:437], order[437:797]
    return Data(
        "digits",
        train=Split(images[train], labels[train]),
        validation=Split(images[validation], labels[validation]),
        test=Split(images[test], labels[test]),
        classes=tuple("0123456789"),
    )


def _mark(digits: Data) -> Data:
    train, validation, test = (
        Split(mark_images(split.images, split.labels, seed), split.labels)
        for seed, split in enumerate((digits.train, digits.validation, digits.test))
    )
    return Data("marked-digits", train, validation, test, digits.classes)


def _check_count(n: int) -> int:
    if n < 0:
        raise ValueError(f"the number of images must be 0 or more, not {n}")
    return n
