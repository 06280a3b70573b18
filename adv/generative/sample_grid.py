"""A picture of a set of images, one row per class."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor

from adv.data.datasets import Split
from adv.data.names import DataError
from adv.files import write_atomic
from adv.generative.pixel_range import find_pixel_format

_WIDTH = 640  # approximate width of the picture in pixels


def save_grid(path: Path, split: Split, classes: int, columns: int = 10) -> None:
    """Write a PNG with the first `columns` images of each class, one row per class.

    The frame that is black in all images is cut off; pixels are enlarged without smoothing.

    Raises:
      ValueError: the file is not named NAME.png, or exists.
      DataError: it cannot be written.
    """
    from PIL import Image

    check_grid(path)
    picture = grid(split, classes, columns)
    buffer = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(buffer, "PNG")
    try:
        write_atomic(path, buffer.getvalue())
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


def check_grid(path: Path) -> None:
    """Raise ValueError, before any work, if `save_grid` would reject the path."""
    if path.suffix != ".png":
        raise ValueError(f"{path}: the name of a grid must end in .png")
    if path.exists():
        raise ValueError(f"{path} exists: name another file")


def grid(split: Split, classes: int, columns: int) -> Tensor:
    """Return the picture as bytes [3, h, w]; missing images are black."""
    pixel_format = find_pixel_format(split.images)
    height, width = pixel_format.height, pixel_format.width
    inner = pixel_format.crop(split.images)
    inner = inner[:, :3] if inner.shape[1] >= 3 else inner[:, :1]  # a PNG has three colours
    picture = torch.zeros(3, classes * (height + 1), columns * (width + 1), dtype=torch.uint8)
    for label in range(classes):
        for column, image in enumerate(inner[split.labels == label][:columns]):
            row, left = label * (height + 1), column * (width + 1)
            picture[:, row : row + height, left : left + width] = image
    times = max(1, _WIDTH // picture.shape[2])
    return picture.repeat_interleave(times, 1).repeat_interleave(times, 2)
