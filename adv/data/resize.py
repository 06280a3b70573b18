"""Bring images in memory to another size and number of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from adv.data.names import DataError
from adv.shape import parse_image_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK = 4096  # Images resized at a time.
_LUMA = (299, 587, 114)  # Per thousand: ITU-R 601, as Pillow's mode L.


def fit_images(images: NDArray[np.uint8], image_size: str) -> NDArray[np.uint8]:
    """Return images as `image_size` says; "" and their own size change nothing.

    They are cropped to the centre so that the sides have the new proportion, then resized
    (bilinear, with antialiasing), as `adv.data.image_file.decode` does it with files.

    Args:
        images: uint8 [n, c, h, w].
        image_size: as `adv.shape.parse_image_size` takes it.

    Raises:
        DataError: the images have neither 1 nor 3 channels, and another number is asked for.
        ValueError: `image_size` is no size.
    """
    if not image_size:
        return images
    channels, height, width = parse_image_size(image_size)
    if images.shape[2:] != (height, width):
        chunks = [images[i : i + _CHUNK] for i in range(0, len(images), _CHUNK)]
        images = np.concatenate([_resize(chunk, height, width) for chunk in chunks])
    return images if channels is None else _with_channels(images, channels)


def _resize(images: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    from torchvision.transforms.v2 import functional as tv

    have = images.shape[2:]
    scale = min(have[0] / height, have[1] / width)
    crop = [max(1, round(side * scale)) for side in (height, width)]
    cropped = tv.center_crop(torch.from_numpy(np.ascontiguousarray(images)), crop)
    return np.asarray(tv.resize(cropped, [height, width], antialias=True).numpy())


def _with_channels(images: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    have = images.shape[1]
    if have == channels:
        return images
    if have == 1:
        return np.repeat(images, channels, axis=1)
    if have != 3:
        raise DataError(
            f"images have {have} channels: only 1 or 3 can be made grey or RGB; leave the channels "
            "out of --image-size"
        )
    luma = sum(weight * images[:, i].astype(np.uint32) for i, weight in enumerate(_LUMA))
    return np.asarray((luma + 500) // 1000).astype(np.uint8)[:, None]
