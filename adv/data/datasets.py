"""Data sets as uint8 tensors that fit on the device whole: digits, CIFAR and image folders.

Which images are held out for validation is part of the data set: it depends on no seed of the
user and on no global generator, so every trial of every search is scored on the same images.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from adv.data import cifar, image_folder
from adv.data.cache_dir import data_folder
from adv.data.names import NAMES, DataError, check

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NAMES", "Data", "DataError", "Split", "check", "stratified_order", "load"]

_SPLIT_SEED = 20_240_613  # Any constant. A new one moves every score: never change it.


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [n, 3, 32, 32] with labels int64 [n], classes taking turns (`stratified_order`)."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise ValueError(f"{len(self.images)} images but {len(self.labels)} labels")
        if self.images.dtype != torch.uint8 or self.labels.dtype != torch.int64:
            raise ValueError(
                f"wanted uint8 images and int64 labels, got {self.images.dtype} "
                f"and {self.labels.dtype}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def head(self, n: int) -> Split:
        """The first n images (all, if there are fewer): nearly as balanced as the whole."""
        return self._cut(0, _count(n))

    def tail(self, n: int) -> Split:
        """The last n images (all, if there are fewer): shares none with `head(len - n)`."""
        return self._cut(max(0, len(self) - _count(n)), len(self))

    def to(self, device: torch.device | str) -> Split:
        """The same split on `device`."""
        return Split(self.images.to(device), self.labels.to(device))

    def _cut(self, start: int, stop: int) -> Split:
        return Split(self.images[start:stop], self.labels[start:stop])


@dataclass(frozen=True, eq=False)
class Data:
    """A named data set in three disjoint splits, and the names of its classes by label."""

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]

    def to(self, device: torch.device | str) -> Data:
        """The same data on `device`."""
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

    Args:
        name: one of `NAMES`, or a folder with train/<class>/* and test/<class>/*.
        root: where downloads and decoded pixels are kept; by default the folder named by the
            environment variable ROBUSTUNE_DATA, else `data` in the user's cache folder.

    Sizes (train, validation, test): digits 1000, 437, 360; CIFAR 45,000, 5000, 10,000 (Krizhevsky,
    "Learning multiple layers of features from tiny images", 2009); a folder gives a tenth of its
    training images, and one of each class at least, to validation.

    Raises:
        DataError: an unknown name, a download that failed, a folder that is not as it should be.
    """
    check(name)
    root = root or data_folder()
    if name == "digits":
        return _digits()
    if name in NAMES:
        classes, (train, test) = cifar.read(name, root)
    else:
        classes, (train, test) = image_folder.read(Path(name).expanduser(), root / "folders")
    return _with_validation(name, classes, train, test)


def stratified_order(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """A fixed random order of the images in which classes take turns.

    The k-th image (from 0) of a class of n falls at a random place in [k/n, (k+1)/n) of the order,
    so any run of it holds each class nearly in its share; classes of one size take exact turns.
    The first images of all classes lead, so that even a short head holds every class.

    Args:
        labels: [n] class of each image.

    Returns:
        The n indices, in order. The same for the same labels, always.
    """
    generator = np.random.default_rng(_SPLIT_SEED)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        turns = np.arange(len(members)) + generator.random(len(members))
        place[members] = turns / len(members)
        place[members[0]] -= 1
    return np.argsort(place, kind="stable")


Labelled = tuple["NDArray[np.uint8]", "NDArray[np.int64]"]


def _with_validation(name: str, classes: tuple[str, ...], train: Labelled, test: Labelled) -> Data:
    """Hold out a tenth of `train` for validation, and at least one image of each class."""
    order = stratified_order(train[1])
    held = max(len(classes), round(len(order) / 10))
    return Data(
        name,
        train=_split(train, order[held:]),
        validation=_split(train, order[:held]),
        test=_split(test, stratified_order(test[1])),
        classes=classes,
    )


def _split(labelled: Labelled, rows: NDArray[np.int64]) -> Split:
    images, labels = labelled
    return Split(torch.from_numpy(images[rows]), torch.from_numpy(labels[rows]))


def _digits() -> Data:
    """1797 handwritten digits, 8 x 8 pixels in 17 greys (UCI; Alpaydin and Kaynak 1998).

    They stand at their own size in the middle of a black image. Made larger, a pixel would be
    sixteen copies of itself, over which noise averages out: the trade-off to search is gone.
    """
    from sklearn.datasets import load_digits

    grey, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(grey).float().reshape(-1, 1, 8, 8) * (255 / 16)
    framed = torch.nn.functional.pad(small, (12, 12, 12, 12))
    images = framed.round().to(torch.uint8).expand(-1, 3, -1, -1).numpy()
    order = stratified_order(labels)
    everything = images, labels.astype(np.int64)
    return Data(
        "digits",
        train=_split(everything, order[797:]),
        validation=_split(everything, order[:437]),
        test=_split(everything, order[437:797]),
        classes=tuple("0123456789"),
    )


def _count(n: int) -> int:
    if n < 0:
        raise ValueError(f"a number of images is 0 or more, not {n}")
    return n
