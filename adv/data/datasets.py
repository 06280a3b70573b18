"""Data sets as uint8 tensors that fit on the device as a whole: digits, CIFAR and image folders.

The validation images are part of the data set: they depend on no seed of the user and on no global
generator, so all trials of all searches are scored on the same images.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from adv.data.cache_dir import data_folder
from adv.data.cifar import load_cifar
from adv.data.digits import load_digits
from adv.data.image_folder import load_image_folder
from adv.data.names import NAMES, DataError, check_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NAMES", "Data", "DataError", "Split", "load", "stratified_order"]

_SPLIT_SEED = 20_240_613  # Any constant; a new one would change every score, so never change it.


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [n, 3, 32, 32] with labels int64 [n], in `stratified_order`."""

    images: Tensor
    labels: Tensor

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
        return Split(self.images.to(device), self.labels.to(device))

    def _cut(self, start: int, stop: int) -> Split:
        return Split(self.images[start:stop], self.labels[start:stop])


@dataclass(frozen=True, eq=False)
class Data:
    """A named data set in three disjoint splits, with the names of its classes by label."""

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]

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


def load(name: str, root: Path | None = None) -> Data:
    """Read a data set onto the CPU.

    Sizes (train, validation, test): digits 1000, 437, 360; CIFAR 45,000, 5000, 10,000 (Krizhevsky,
    "Learning multiple layers of features from tiny images", 2009). Of an image folder, a tenth of
    the training images, and at least one of each class, are held out for validation.

    Args:
        name: one of `NAMES`, or a folder with train/<class>/* and test/<class>/*.
        root: where downloads and decoded pixels are kept; by default the folder that the
            environment variable ROBUSTUNE_DATA names, else `data` in the user's cache folder.

    Raises:
        DataError: an unknown name, a failed download, or a folder of another structure.
    """
    check_name(name)
    root = root or data_folder()
    if name == "digits":
        return _digits()
    if name in NAMES:
        classes, (train, test) = load_cifar(name, root)
    else:
        classes, (train, test) = load_image_folder(Path(os.path.expanduser(name)), root / "folders")
    return _with_validation(name, classes, train, test)


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


Labelled = tuple["NDArray[np.uint8]", "NDArray[np.int64]"]


def _with_validation(name: str, classes: tuple[str, ...], train: Labelled, test: Labelled) -> Data:
    """Hold out a tenth of `train` for validation, and at least one image of each class."""
    order = stratified_order(train[1])
    count = max(len(classes), round(len(order) / 10))
    return Data(
        name,
        train=_split(train, order[count:]),
        validation=_split(train, order[:count]),
        test=_split(test, stratified_order(test[1])),
        classes=classes,
    )


def _split(labelled: Labelled, rows: NDArray[np.int64]) -> Split:
    images, labels = labelled
    return Split(torch.from_numpy(images[rows]), torch.from_numpy(labels[rows]))


def _digits() -> Data:
    labelled = load_digits()
    order = stratified_order(labelled[1])
    return Data(
        "digits",
        train=_split(labelled, order[797:]),
        validation=_split(labelled, order[:437]),
        test=_split(labelled, order[437:797]),
        classes=tuple("0123456789"),
    )


def _check_count(n: int) -> int:
    if n < 0:
        raise ValueError(f"the number of images must be 0 or more, not {n}")
    return n
