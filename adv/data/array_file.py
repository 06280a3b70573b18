"""Read a data set from an .npz file: `image` and `label`, or those of each split.

Nothing is unpickled. The array of a file that was written by `np.savez` is mapped, and of images
that are too many for the memory only one at a time is read.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adv.data.assemble import split_off_test
from adv.data.names import DataError, abbreviate
from adv.data.npz_arrays import explain_damage, read_array, shorten
from adv.data.raw import RawData, RawSplit, channels_first, to_bytes, to_labels
from adv.data.resize import fit_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SPLITS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
_LOOK = 4096  # Images that are checked and converted at a time.


@dataclass
class ArrayImages(Sequence["NDArray[np.uint8]"]):
    """The images of an array, converted and resized one at a time."""

    name: str
    images: NDArray[Any]
    image_size: str
    rows: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.images) if self.rows is None else len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        row = index if self.rows is None else self.rows[index]
        one = to_bytes(self.name, self.images[row : row + 1], f"image {row}")
        return fit_images(one, self.image_size)[0]


def load_arrays(name: str, image_size: str) -> RawData:
    """Return the data set in an .npz file.

    It holds `image` and `label`, of which a fifth is the test split; or `train_image`,
    `train_label`, `test_image`, `test_label` and perhaps `val_image`, `val_label` (a plural s is
    allowed, as in MedMNIST). Images are [n, h, w], [n, h, w, c] or [n, c, h, w], bytes or floats in
    [0, 1]; labels whole numbers or names. `classes`, if it is there, holds the classes' names.

    Raises:
        DataError: no such arrays, or arrays that are no images and labels.
    """
    path = Path(os.path.expanduser(name))
    try:
        with zipfile.ZipFile(path) as archive:
            infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            read = {
                key: read_array(path, archive, infos[key])
                for key in infos
                if key == "classes" or _role(key)
            }
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: does not fit into memory: save it with np.savez") from error
    except Exception as error:  # zipfile, zlib and numpy raise a dozen types
        raise DataError(explain_damage(path, error)) from error
    parts = {role: array for key, array in read.items() if (role := _role(key))}
    splits = [split for split in ("", *_SPLITS) if (split, "image") in parts]
    if not ({"train", "test"} <= {*splits} or splits == [""]):
        held = abbreviate([shorten(key, 30) for key in infos], 10) or "nothing"
        raise DataError(
            f"{path}: expected the arrays image and label, or train_image, train_label, test_image "
            f"and test_label; it holds {held}"
        )
    for split in splits:
        if (split, "label") not in parts:
            raise DataError(f"{path}: no labels for the {split or 'only'} images")
    classes, labels = _labels(path, {s: parts[s, "label"] for s in splits}, read.get("classes"))
    return _make(name, path, {s: parts[s, "image"] for s in splits}, classes, labels, image_size)


def _role(key: str) -> tuple[str, str] | None:
    """Return the split ("" for none) and the "image" or "label" that an array's name stands for."""
    stem = key.removesuffix("s")
    for split, names in {"": ("",), **_SPLITS}.items():
        for name in names:
            for what in ("image", "label"):
                if stem == (f"{name}_{what}" if name else what):
                    return split, what
    return None


def _labels(
    path: Path, labels: dict[str, NDArray[Any]], names: NDArray[Any] | None
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Return the names of the classes, and the labels of each split as numbers."""
    if all(array.dtype.kind == "U" and array.ndim == 1 for array in labels.values()):
        classes = tuple(map(str, np.unique(np.concatenate([*labels.values()]))))
        return classes, {
            split: np.searchsorted(np.array(classes), array).astype(np.int64)
            for split, array in labels.items()
        }
    given = None if names is None or names.dtype.kind != "U" else tuple(map(str, names.ravel()))
    count = None if given is None else len(given)
    found = {split: to_labels(str(path), array, count) for split, array in labels.items()}
    most = max((int(array.max()) for array in found.values() if len(array)), default=-1)
    return given or tuple(map(str, range(most + 1))), found


def _make(
    name: str,
    path: Path,
    images: dict[str, NDArray[Any]],
    classes: tuple[str, ...],
    labels: dict[str, NDArray[np.int64]],
    image_size: str,
) -> RawData:
    """Return the data set, after every image was looked at once."""
    notes = []
    for split, array in images.items():
        images[split] = first = channels_first(str(path), array, f"{split} image".strip())
        if len(first) != len(labels[split]):
            raise DataError(f"{path}: {len(first)} images but {len(labels[split])} labels")
        for start in range(0, len(first), _LOOK):
            to_bytes(str(path), first[start : start + _LOOK], f"{split} image".strip())
    if any(array.dtype.kind == "f" for array in images.values()):
        notes.append("floats in [0, 1] are rounded to 256 levels")
    if not all(len(array) for array in images.values()):
        raise DataError(f"{path}: contains no images")
    rows: dict[str, NDArray[np.int64] | None] = dict.fromkeys(images)
    if "" in images:
        train, test = split_off_test(labels[""])
        images = {"train": images[""], "test": images[""]}
        labels = {"train": labels[""][train], "test": labels[""][test]}
        rows = {"train": train, "test": test}
        notes.append(f"no test images in {path}: a fifth is the test split, always the same")
    splits = {
        split: RawSplit(ArrayImages(str(path), array, image_size, rows[split]), labels[split])
        for split, array in images.items()
    }
    shape = splits["train"].images[0].shape
    for split, one in splits.items():
        if (found := one.images[0].shape) != shape:
            raise DataError(
                f"{path}: {split} images are {found}, train images {shape}: --image-size makes "
                "them equal"
            )
    return RawData(name, classes, shape, splits, tuple(notes))
