"""A data set as a reader found it: labels, and images that are read one at a time.

`adv.data.assemble` puts it in order. What cannot be used is refused here, in one line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adv.data.names import DataError
from adv.shape import Shape, format_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Labels = NDArray[np.int64]


@dataclass(frozen=True)
class RawSplit:
    """The images of a split, uint8 [c, h, w] at each index, or an array of them; and the labels."""

    images: Sequence[Pixels] | Pixels
    labels: Labels


@dataclass(frozen=True)
class RawData:
    """A data set in splits: `train`, `test` and perhaps `validation`.

    Args:
        name: on the command line.
        classes: names by label.
        shape: channels, height and width of every image.
        splits: by name.
        notes: what was done to the images or splits, a line each.
        key: identifies the pixels, if they are worth keeping as a file; "" if not.
    """

    name: str
    classes: tuple[str, ...]
    shape: Shape
    splits: Mapping[str, RawSplit]
    notes: tuple[str, ...] = ()
    key: str = ""


def to_labels(name: str, labels: Any, classes: int | None = None) -> Labels:
    """Return labels as int64 [n].

    Args:
        name: of the data, for the message.
        labels: whole numbers from 0 on, [n] or [n, 1].
        classes: how many there are; None: not known.

    Raises:
        DataError: one-hot, fractional or floating labels, negative ones, or one of no class.
    """
    found = np.asarray(labels)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim == 2 and found.dtype.kind in "biuf" and len(found):
        raise DataError(
            f"{name}: labels have shape {tuple(found.shape)}, expected one whole number for each "
            "image: one-hot labels become numbers by argmax(1)"
        )
    if found.ndim != 1:
        raise DataError(
            f"{name}: labels have shape {tuple(found.shape)}, expected (n,): one for each image"
        )
    if found.dtype.kind not in "iu":
        raise DataError(
            f"{name}: labels are {str(found.dtype)[:60]}, expected whole numbers, such as int64"
        )
    if len(found) and found.min() < 0:
        at = int(found.argmin())
        raise DataError(
            f"{name}: label {found[at]} of image {at} is negative: classes count from 0"
        )
    if classes is not None and len(found) and found.max() >= classes:
        at = int(found.argmax())
        raise DataError(
            f"{name}: label {found[at]} of image {at} is not a class: the data has {classes}, 0 to "
            f"{classes - 1}"
        )
    return found.astype(np.int64)


def to_pixels(name: str, image: Any, where: str) -> Pixels:
    """Return one image as uint8 [c, h, w].

    Args:
        name: of the data, for the message.
        image: a picture of Pillow; or an array or tensor [h, w], [h, w, c] or [c, h, w], of bytes
            or of floats in [0, 1].
        where: which image, for the message.

    Raises:
        DataError: another shape or type, values outside [0, 1], NaN, or more than 8 bits.
    """
    if hasattr(image, "convert") and hasattr(image, "getbands"):
        from adv.data.image_file import to_rgb_or_grey

        return to_rgb_or_grey(f"{name}: {where}", image)
    array = np.asarray(image.numpy() if hasattr(image, "numpy") else image)
    return channels_first(name, to_bytes(name, array[None], where), where)[0]


def to_bytes(name: str, images: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Return images as bytes; floats in [0, 1] are multiplied by 255 and rounded.

    Raises:
        DataError: another type, values outside the range, or NaN.
    """
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind == "f":
        low, high = (float(f(images)) for f in (np.min, np.max)) if images.size else (0.0, 0.0)
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(f"{name}: {where} holds NaN or infinity")
        if low < 0 or high > 1:
            hint = (
                "divide by 255"
                if low >= 0 and high <= 255
                else "undo the normalisation: a net has its own"
            )
            raise DataError(
                f"{name}: {where} has floats from {low:.4g} to {high:.4g}, expected [0, 1]: {hint}"
            )
        return np.rint(images * 255).astype(np.uint8)
    if images.dtype.kind in "iu":
        low, high = (int(f(images)) for f in (np.min, np.max)) if images.size else (0, 0)
        if low >= 0 and high <= 255:
            return images.astype(np.uint8)
        raise DataError(
            f"{name}: {where} has whole numbers from {low} to {high}, expected bytes from 0 to 255"
        )
    raise DataError(
        f"{name}: {where} is {str(images.dtype)[:60]}, expected bytes (uint8) or floats in [0, 1]"
    )


def channels_first(name: str, images: NDArray[Any], where: str) -> NDArray[Any]:
    """Return images [n, h, w], [n, h, w, c] or [n, c, h, w] as [n, c, h, w].

    Raises:
        DataError: none of these, or neither 1 nor 3 channels.
    """
    shape = images.shape
    if len(shape) == 3:
        return images[:, None]
    if len(shape) == 4 and shape[1] in (1, 3):
        return images
    if len(shape) == 4 and shape[3] in (1, 3):
        return images.transpose(0, 3, 1, 2)
    raise DataError(
        f"{name}: {where} has shape {tuple(shape[1:])}, expected (h, w), (h, w, c) or (c, h, w) "
        "with 1 or 3 channels"
    )


def check_splits(raw: RawData) -> None:
    """Raise DataError if a split that is needed has no image, or there is a single class."""
    if len(raw.classes) < 2:
        raise DataError(f"{raw.name}: {len(raw.classes)} class, at least 2 are needed")
    for name, split in raw.splits.items():
        if not len(split.labels):
            raise DataError(f"{raw.name}: the {name} split has no images")
        if len(split.images) != len(split.labels):
            raise DataError(
                f"{raw.name}: {len(split.images)} {name} images but {len(split.labels)} labels"
            )
    counts = np.bincount(raw.splits["train"].labels, minlength=len(raw.classes))
    least = 1 if "validation" in raw.splits else 2
    for label in np.flatnonzero(counts < least)[:1]:
        raise DataError(
            f"{raw.name}: class {raw.classes[label]!r} has {counts[label]} training images, at "
            f"least {least} are needed"
            + ("" if least == 1 else " (one to train on, one to validate on)")
        )


def refuse_other_shape(name: str, where: str, found: tuple[int, ...], first: Shape) -> DataError:
    """Return the error for images of changing shape; it names both, and the flag that mends it."""
    size = first[1:] if found[0] == first[0] else (3, *first[1:])
    return DataError(
        f"{name}: {where} is {format_shape(found)}, the first image is {format_shape(first)}: "
        f"--image-size {format_shape(size)} crops and resizes all of them"
    )
