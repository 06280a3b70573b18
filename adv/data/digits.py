"""1797 handwritten digits, 8 x 8 pixels in 17 greys (UCI; Alpaydin and Kaynak 1998)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray


def load_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images uint8 [1797, 3, 32, 32] and their labels int64 [1797].

    The digits are centred at their own size in a black image. Enlarged, a pixel would be repeated
    sixteen times, and noise would average out over the copies: there would be no trade-off left
    to search.
    """
    from sklearn import datasets

    grey, labels = datasets.load_digits(return_X_y=True)
    small = torch.from_numpy(grey).float().reshape(-1, 1, 8, 8) * (255 / 16)
    padded = torch.nn.functional.pad(small, (12, 12, 12, 12))
    images = padded.round().to(torch.uint8).expand(-1, 3, -1, -1).numpy()
    return images, labels.astype(np.int64)
