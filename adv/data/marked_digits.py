"""Digits with a faint mark of their class, where a fifth of the images show another digit.

After the example of Tsipras et al. (ICLR 2019, "Robustness may be at odds with accuracy", section
2.1): one feature is right most of the time and hard to change, another always and easily changed.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

BRIGHTNESS = 26
"""What a mark adds to a pixel of 0 to 255: a tenth, so a change of .05 can hide it."""

WRONG_SHARE = 0.2
"""Share of the images that show a digit of another class than theirs, which only the mark tells."""

_CELLS = 4
"""Cells of a mark along each side of an image; half of them are lit."""


def mark_images(images: Tensor, labels: Tensor, seed: int) -> Tensor:
    """Return images of the same labels with the mark of their class, a share of them exchanged.

    Those that are exchanged show an image of another class, drawn from the others.

    Args:
        images: uint8 [n, channels, height, width].
        labels: int64 [n].
        seed: of the draw of the exchanged images; the marks are always the same.
    """
    # NumPy promises that this generator, unlike its newer ones, draws the same in every version.
    random = np.random.RandomState(seed)
    classes = labels.numpy()
    shown = np.arange(len(classes))
    for i in random.permutation(len(classes))[: round(WRONG_SHARE * len(classes))]:
        shown[i] = random.choice(np.flatnonzero(classes != classes[i]))
    height, width = images.shape[-2:]
    marks = make_marks(int(classes.max()) + 1, height, width)[labels]
    lit = images[torch.from_numpy(shown)].int() + BRIGHTNESS * marks[:, None].int()
    return lit.clamp(max=255).to(torch.uint8)


def make_marks(classes: int, height: int, width: int) -> Tensor:
    """Return the mark of each class, booleans [classes, height, width]: half its cells are lit."""
    random = np.random.RandomState(0)
    cells = np.array([random.permutation(_CELLS**2) < _CELLS**2 // 2 for _ in range(classes)])
    rows, columns = np.arange(height) * _CELLS // height, np.arange(width) * _CELLS // width
    grid = cells.reshape(classes, _CELLS, _CELLS)
    return torch.from_numpy(grid[:, rows[:, None], columns])
