"""Read published data sets: MNIST, Fashion-MNIST, SVHN, STL-10, GTSRB, EuroSAT, Tiny ImageNet.

torchvision downloads them and compares the checksums; Tiny ImageNet, which it does not have, is
downloaded by the same functions. GTSRB, EuroSAT and Tiny ImageNet are unpacked beside their place
and moved there when they are whole, because torchvision takes a half-unpacked folder for the set.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adv.data.assemble import split_off_test
from adv.data.cifar import download_timeout
from adv.data.image_folder import read_files
from adv.data.names import DataError
from adv.data.raw import RawData, RawSplit
from adv.data.resize import fit_images
from adv.files import partial_folder
from adv.one_line import join_lines

if TYPE_CHECKING:
    from numpy.typing import NDArray

TINY_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
TINY_FOLDER = "tiny-imagenet-200"

_DIGITS = tuple("0123456789")
_STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


@dataclass(frozen=True)
class Arrays:
    """The images uint8 [n, c, h, w] and labels [n] of one split."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def load_published(name: str, root: Path, image_size: str) -> RawData:
    """Return a published data set, downloading it into `root` unless an intact copy is there.

    Raises:
        DataError: no connection, a damaged download, or a folder that cannot be written.
    """
    if name in _ARRAYS:
        classes, arrays = _ARRAYS[name](root)
        splits = {
            split: RawSplit(fit_images(one.images, image_size), one.labels)
            for split, one in zip(("train", "test"), arrays, strict=True)
        }
        return RawData(name, classes, splits["train"].images[0].shape, splits)
    classes, files, labels, notes = _FILES[name](root)
    return read_files(name, classes, files, labels, root / "folders", image_size, notes)


def _read(name: str, root: Path, make: Callable[[bool], Any]) -> Any:
    """Return what `make(download)` reads, downloading it if it is not there."""
    from filelock import FileLock  # torch itself depends on it

    with contextlib.suppress(Exception):  # absent or damaged; only the download tells which
        return make(False)
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Trials start together: without the lock they would all write the same archive.
        with FileLock(root / f"{name}.lock"), download_timeout():
            return make(True)
    except Exception as error:  # urllib, http, zipfile, zlib and pickle each raise their own
        why = join_lines(str(error), 300) or type(error).__name__
        raise DataError(
            f"{name}: cannot be downloaded into {root}, or is damaged there ({why}): try again, "
            "or use the data set 'digits' or a folder of images"
        ) from error


def _mnist(kind: str) -> Callable[[Path], tuple[tuple[str, ...], list[Arrays]]]:
    def load(root: Path) -> tuple[tuple[str, ...], list[Arrays]]:
        from torchvision import datasets

        make = getattr(datasets, kind)
        splits = _read(
            kind,
            root,
            lambda download: [
                make(str(root), train=train, download=download) for train in (True, False)
            ],
        )
        classes = _DIGITS if kind == "MNIST" else tuple(splits[0].classes)
        return classes, [
            Arrays(split.data.numpy()[:, None], split.targets.numpy().astype(np.int64))
            for split in splits
        ]

    return load


def _with_splits(
    kind: str, classes: tuple[str, ...]
) -> Callable[[Path], tuple[tuple[str, ...], list[Arrays]]]:
    def load(root: Path) -> tuple[tuple[str, ...], list[Arrays]]:
        from torchvision import datasets

        make = getattr(datasets, kind)
        splits = _read(
            kind,
            root,
            lambda download: [
                make(str(root), split=split, download=download) for split in ("train", "test")
            ],
        )
        return classes, [
            Arrays(np.ascontiguousarray(split.data), np.asarray(split.labels).astype(np.int64))
            for split in splits
        ]

    return load


Files = tuple[tuple[str, ...], dict[str, list[str]], dict[str, "NDArray[np.int64]"], list[str]]


def _gtsrb(root: Path) -> Files:
    from torchvision.datasets import GTSRB

    splits = _unpacked(
        root,
        "gtsrb",
        lambda base, download: [
            GTSRB(str(base), split=split, download=download) for split in ("train", "test")
        ],
    )
    files = [[path for path, _ in split._samples] for split in splits]
    labels = [np.array([label for _, label in split._samples], np.int64) for split in splits]
    classes = tuple(f"{label:05d}" for label in range(43))
    names = ("train", "test")
    return classes, dict(zip(names, files, strict=True)), dict(zip(names, labels, strict=True)), []


def _eurosat(root: Path) -> Files:
    from torchvision.datasets import EuroSAT

    whole = _unpacked(root, "eurosat", lambda base, download: EuroSAT(str(base), download=download))
    labels = np.array([label for _, label in whole.samples], np.int64)
    chosen = dict(zip(("train", "test"), split_off_test(labels), strict=True))
    files = {name: [whole.samples[row][0] for row in rows] for name, rows in chosen.items()}
    note = "EuroSAT has no test split: a fifth of its images is one, always the same"
    return tuple(whole.classes), files, {k: labels[rows] for k, rows in chosen.items()}, [note]


def _tiny_imagenet(root: Path) -> Files:
    folder = _unpacked(root, TINY_FOLDER, _tiny_folder)
    train = sorted((folder / "train").glob("*/images/*.JPEG"))
    ids = tuple(sorted({path.parts[-3] for path in train}))
    with (folder / "val" / "val_annotations.txt").open() as file:
        rows = [row[:2] for row in csv.reader(file, delimiter="\t")]
    with (folder / "words.txt").open() as file:
        words = dict(row[:2] for row in csv.reader(file, delimiter="\t") if len(row) > 1)
    label = {name: number for number, name in enumerate(ids)}
    test = sorted((str(folder / "val" / "images" / image), label[name]) for image, name in rows)
    classes = tuple(f"{words[name].split(',')[0]} ({name})" for name in ids)
    return (
        classes,
        {"train": [str(path) for path in train], "test": [path for path, _ in test]},
        {
            "train": np.array([label[path.parts[-3]] for path in train], np.int64),
            "test": np.array([number for _, number in test], np.int64),
        },
        ["Tiny ImageNet's test images have no labels: its validation images are the test split"],
    )


def _tiny_folder(base: Path, download: bool) -> Path:
    from torchvision.datasets.utils import download_and_extract_archive

    if download:
        download_and_extract_archive(TINY_URL, str(base), md5=TINY_MD5)
    folder = base / TINY_FOLDER
    if not (folder / "val" / "val_annotations.txt").is_file():
        raise FileNotFoundError(f"no {folder}")
    return folder


def _unpacked(root: Path, folder: str, make: Callable[[Path, bool], Any]) -> Any:
    """Return what `make(base, download)` reads, from `root/folder`, which is there as a whole."""

    def read(download: bool) -> Any:
        if download and not (root / folder).is_dir():
            with partial_folder(root / f"{folder}.new") as base:
                make(base, True)
            (root / f"{folder}.new" / folder).rename(root / folder)
            _remove(root / f"{folder}.new")
        return make(root, False)

    return _read(folder, root, read)


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


_ARRAYS: Mapping[str, Callable[[Path], tuple[tuple[str, ...], list[Arrays]]]] = {
    "mnist": _mnist("MNIST"),
    "fashion-mnist": _mnist("FashionMNIST"),
    "svhn": _with_splits("SVHN", _DIGITS),
    "stl10": _with_splits("STL10", _STL10),
}
_FILES: Mapping[str, Callable[[Path], Files]] = {
    "gtsrb": _gtsrb,
    "eurosat": _eurosat,
    "tiny-imagenet": _tiny_imagenet,
}
