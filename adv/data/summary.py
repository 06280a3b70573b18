"""What is known of a data set before its pixels are read: image shape, classes, sizes of splits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from adv.data.names import check_name, class_names, image_files, kind_of, split_folders
from adv.shape import DEFAULT_SHAPE, Shape, parse_image_size

TEST_SHARE = 0.2  # Of the images of a set that has no test images.


@dataclass(frozen=True)
class Summary:
    """The image shape of a data set, its number of classes, and the images of each split.

    `shape` is None where only reading the images tells it.
    """

    shape: Shape | None
    classes: int
    train: int
    validation: int
    test: int


def validation_size(classes: int, images: int) -> int:
    """Return how many of the training images are held out: a tenth, at least one of each class."""
    return max(classes, round(images / 10))


def test_size(classes: int, images: int) -> int:
    """Return how many images become the test split of a set that has none: a fifth of them."""
    return max(classes, round(TEST_SHARE * images))


def _published(shape: Shape, classes: int, train: int, test: int) -> Summary:
    held_out = validation_size(classes, train)
    return Summary(shape, classes, train - held_out, held_out, test)


_KNOWN: Mapping[str, Summary] = {
    "digits": Summary(DEFAULT_SHAPE, 10, 1000, 437, 360),
    "marked-digits": Summary(DEFAULT_SHAPE, 10, 1000, 437, 360),
    "cifar10": _published(DEFAULT_SHAPE, 10, 50_000, 10_000),
    "cifar100": _published(DEFAULT_SHAPE, 100, 50_000, 10_000),
    "mnist": _published((1, 28, 28), 10, 60_000, 10_000),
    "fashion-mnist": _published((1, 28, 28), 10, 60_000, 10_000),
    "svhn": _published(DEFAULT_SHAPE, 10, 73_257, 26_032),
    "stl10": _published((3, 96, 96), 10, 5000, 8000),
    "gtsrb": _published(DEFAULT_SHAPE, 43, 26_640, 12_630),
    "eurosat": _published((3, 64, 64), 10, 21_600, 5400),
    "tiny-imagenet": _published((3, 64, 64), 200, 100_000, 10_000),
}


def summarize(name: str, image_size: str = "") -> Summary | None:
    """Return what `adv.load` would read, without reading, downloading or running it.

    It is None for data of which only its own reader knows: arrays, functions and the hub.

    Args:
        name: as `adv.load` takes it.
        image_size: likewise.

    Raises:
        DataError: the data set cannot be used.
        ValueError: `image_size` is no size.
    """
    check_name(name)
    kind = kind_of(name)
    if kind not in ("known", "folder"):
        return None
    found = _KNOWN[name] if kind == "known" else _summarize_folder(Path(os.path.expanduser(name)))
    if not image_size:
        return found
    channels, height, width = parse_image_size(image_size)
    own = found.shape[0] if found.shape else 3
    return replace(found, shape=(channels or own, height, width))


def _summarize_folder(folder: Path) -> Summary:
    classes = class_names(folder)
    counts = {
        split: sum(1 for name in classes for _ in image_files(path / name))
        for split, path in split_folders(folder).items()
    }
    train = counts["train"]
    test = counts.get("test", test_size(len(classes), train))
    if "test" not in counts:
        train -= test
    validation = counts.get("validation", validation_size(len(classes), train))
    if "validation" not in counts:
        train -= validation
    return Summary(None, len(classes), train, validation, test)
