"""1797 handwritten digits, 8 x 8 pixels in 17 greys (UCI; Alpaydin and Kaynak 1998)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from adv.data.names import DataError
from adv.shape import parse_image_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIDE = 8


def load_digits(image_size: str = "") -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images uint8 [1797, c, h, w], 3 x 32 x 32 by default, and labels int64 [1797].

    The digits are centred at their own size in a black image. Enlarged, a pixel would be repeated
    sixteen times, and noise would average out over the copies: there would be no trade-off left
    to search. So another image size makes the black margin another one, and no digit larger.

    Raises:
        DataError: an image size below 8 x 8.
    """
    from sklearn import datasets

    channels, height, width = parse_image_size(image_size or "3x32x32")
    if min(height, width) < _SIDE:
        raise DataError(f"digits have {_SIDE}x{_SIDE} pixels: --image-size {image_size} is smaller")
    grey, labels = datasets.load_digits(return_X_y=True)
    small = torch.from_numpy(grey).float().reshape(-1, 1, _SIDE, _SIDE) * (255 / 16)
    left, top = (width - _SIDE) // 2, (height - _SIDE) // 2
    margin = (left, width - _SIDE - left, top, height - _SIDE - top)
    padded = torch.nn.functional.pad(small, margin)
    images = padded.round().to(torch.uint8).expand(-1, channels or 3, -1, -1).numpy()
    return images, labels.astype(np.int64)
