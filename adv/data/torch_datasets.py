"""Read torch `Dataset`s, which a function in a user's file returns, and those of Hugging Face.

A file is run only because its name was given on the command line or in a space.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adv.data.assemble import split_off_test
from adv.data.names import HUGGING_FACE, DataError, abbreviate
from adv.data.raw import RawData, RawSplit, refuse_other_shape, to_labels, to_pixels
from adv.data.resize import fit_images
from adv.one_line import join_lines
from adv.shape import Shape
from adv.suggestions import suggest
from adv.user_code import UserCodeError, name_file, run_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHECKED = 4  # Images that are read twice, to notice a random transform.
_NAMES = {"validation": ("validation", "val", "valid"), "test": ("test",), "train": ("train",)}


@dataclass
class DatasetImages(Sequence["NDArray[np.uint8]"]):
    """The images of a torch `Dataset`, read and converted one at a time."""

    name: str
    dataset: Any
    image_size: str
    shape: Shape | None = None
    rows: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.dataset) if self.rows is None else len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        row = int(index if self.rows is None else self.rows[index])
        image = _item(self.name, self.dataset, row)[0]
        pixels = to_pixels(self.name, image, f"image {row}")
        fitted = fit_images(pixels[None], self.image_size)[0]
        if self.shape is not None and fitted.shape != self.shape:
            raise refuse_other_shape(self.name, f"image {row}", fitted.shape, self.shape)
        return fitted


def load_function(name: str, image_size: str) -> RawData:
    """Return the data that a function of a user's file returns.

    The function takes no argument and returns a `Dataset` of (image, label) with `len`; or (train,
    test), (train, validation, test), or a dictionary with these names. Images are pictures of
    Pillow, arrays or tensors, as bytes or floats in [0, 1], all of one shape unless `image_size`
    is given. The names of the classes are the attribute `classes` of the training set, if it has
    one. Of a single set a fifth is the test split.

    Raises:
        DataError: the file, the function, an image or a label cannot be used.
    """
    file, _, function = name.rpartition(":")
    return read_made(name, _call(Path(os.path.expanduser(file)), function), image_size)


def read_made(name: str, made: Any, image_size: str) -> RawData:
    """Return data given as a `Dataset`, as two or three of them, or as a dictionary of such.

    Raises:
        DataError: an image or a label cannot be used, or it is something else.
    """
    if isinstance(made, Mapping):
        sets = {_split_name(name, str(key)): value for key, value in made.items()}
    elif isinstance(made, tuple | list):
        keys = {1: ("train",), 2: ("train", "test"), 3: ("train", "validation", "test")}
        if len(made) not in keys:
            raise DataError(f"{name} has {len(made)} data sets: expected 1, 2 or 3")
        sets = dict(zip(keys[len(made)], made, strict=True))
    else:
        sets = {"train": made}
    return read_datasets(name, sets, image_size, getattr(sets.get("train"), "classes", None))


def read_datasets(
    name: str, sets: Mapping[str, Any], image_size: str, classes: Sequence[str] | None
) -> RawData:
    """Return data whose splits are `Dataset`s of (image, label).

    Raises:
        DataError: a set without `len`, images or labels that cannot be used, or a random transform.
    """
    if "train" not in sets:
        raise DataError(f"{name}: no training set among {', '.join(sets) or 'nothing'}")
    for split, dataset in sets.items():
        if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
            raise DataError(
                f"{name}: its {split} set is a {type(dataset).__name__}, expected a torch Dataset "
                "with a length"
            )
        if not len(dataset):
            raise DataError(f"{name}: the {split} split has no images")
    count = None if classes is None else len(classes)
    labels = {
        split: to_labels(name, [_label(name, dataset, row) for row in range(len(dataset))], count)
        for split, dataset in sets.items()
    }
    images = {split: DatasetImages(name, dataset, image_size) for split, dataset in sets.items()}
    shape = images["train"][0].shape
    for split, one in images.items():
        one.shape = shape
        _refuse_random(name, split, one)
    notes = []
    if "test" not in images:
        train, test = split_off_test(labels["train"])
        one = images["train"]
        images |= {
            "train": DatasetImages(name, one.dataset, image_size, shape, train),
            "test": DatasetImages(name, one.dataset, image_size, shape, test),
        }
        labels |= {"train": labels["train"][train], "test": labels["train"][test]}
        notes.append("no test split: a fifth of the training images is one, always the same")
    most = max(int(part.max()) for part in labels.values())
    names = tuple(map(str, range(most + 1) if classes is None else classes))
    splits = {split: RawSplit(images[split], labels[split]) for split in images}
    return RawData(name, names, shape, splits, tuple(notes))


def load_hugging_face(name: str, image_size: str) -> RawData:
    """Return a data set of Hugging Face, `hf:owner/name`, or `hf:folder` of a local one.

    The column of images is the one whose feature is an image, the labels' the one that is a class
    label; else they are called image or img and label or labels.

    Raises:
        DataError: the package `datasets` is not there, the set cannot be loaded, or has no such
            columns.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{name} needs the package datasets: pip install 'robustune[hf]'"
        ) from error
    address = name.removeprefix(HUGGING_FACE)
    folder = Path(os.path.expanduser(address))
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "dataset_info.json").is_file():
            made = datasets.load_from_disk(str(folder))
        else:
            made = datasets.load_dataset(str(folder) if folder.is_dir() else address)
    except Exception as error:  # of the hub, of the network, of readers of a dozen formats
        why = join_lines(f"{type(error).__name__}: {error}", 200)
        raise DataError(f"{name}: cannot be loaded: {why}") from error
    sets = made if isinstance(made, Mapping) else {"train": made}
    first = next(iter(sets.values()))
    image, label = _columns(name, first.features, datasets)
    known = {_split_name(name, str(key)): value for key, value in sets.items() if _known(str(key))}
    names = getattr(first.features[label], "names", None)
    pairs = {split: _Pairs(rows, image, label) for split, rows in known.items()}
    return read_datasets(name, pairs, image_size, names)


@dataclass
class _Pairs:
    """A table of Hugging Face as a `Dataset` of (image, label)."""

    rows: Any
    image: str
    label: str

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        row = self.rows[index]
        return row[self.image], row[self.label]

    def label_of(self, index: int) -> Any:
        """Return a label without decoding its image."""
        return self.rows.select_columns([self.label])[index][self.label]


def _columns(name: str, features: Any, datasets: Any) -> tuple[str, str]:
    images = [key for key, kind in features.items() if isinstance(kind, datasets.Image)]
    labels = [key for key, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    images += [key for key in ("image", "img") if key in features and key not in images]
    labels += [key for key in ("label", "labels") if key in features and key not in labels]
    if not images or not labels:
        what = "images" if not images else "labels"
        raise DataError(f"{name}: no column of {what} among {abbreviate(list(features), 10)}")
    return images[0], labels[0]


def _known(key: str) -> bool:
    return any(key in names for names in _NAMES.values())


def _split_name(source: object, key: str) -> str:
    for split, names in _NAMES.items():
        if key in names:
            return split
    near = suggest(key, [name for names in _NAMES.values() for name in names])
    raise DataError(f"{source}: no split is called {key!r}: train, validation and test are{near}")


def _call(path: Path, function: str) -> Any:
    """Run a file, which whoever asks for its data names by that, and call its function."""
    try:
        module = run_file(name_file(path))
        make = getattr(module, function, None)
        if not callable(make):
            near = suggest(
                function, [key for key, value in vars(module).items() if callable(value)]
            )
            raise DataError(f"{path}: no function {function!r} in it{near}")
        return make()
    except DataError:
        raise
    except UserCodeError as error:
        raise DataError(str(error)) from error
    except Exception as error:
        why = join_lines(f"{type(error).__name__}: {error}", 200)
        raise DataError(f"{path}:{function} fails: {why}") from error


def _item(name: str, dataset: Any, row: int) -> tuple[Any, Any]:
    try:
        item = dataset[row]
    except Exception as error:
        why = join_lines(f"{type(error).__name__}: {error}", 200)
        raise DataError(f"{name}: item {row} cannot be read: {why}") from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise DataError(f"{name}: item {row} is no pair (image, label)")
    return item[0], item[1]


def _label(name: str, dataset: Any, row: int) -> Any:
    read = getattr(dataset, "label_of", None)
    label = np.asarray(read(row) if read else _item(name, dataset, row)[1])
    if label.size != 1:
        raise DataError(
            f"{name}: label {row} has shape {label.shape}, expected one whole number: one-hot "
            "labels become numbers by argmax"
        )
    return label.reshape(())[()]


def _refuse_random(name: str, split: str, images: DatasetImages) -> None:
    for row in range(min(_CHECKED, len(images))):
        if not np.array_equal(images[row], images[row]):
            raise DataError(
                f"{name}: {split} image {row} differs from reading to reading: leave random "
                "transforms out, the recipe augments"
            )
