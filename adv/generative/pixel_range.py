"""Restrict a generator to the part of the images that varies: no constant frame, no unused colour.

Digits are 8 x 8 grey pixels in the middle of a black 3 x 32 x 32 image: 1/48 of the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from adv.shape import DEFAULT_SHAPE, Shape

_LEAST = 8  # pixels a side that are kept of a black image


@dataclass(frozen=True)
class PixelFormat:
    """The middle of an image, grey or in colour.

    Args:
      height, width: of the middle, in pixels; what is left out is as wide at opposite edges.
      channels: 1 for grey, else as many as the image has.
      shape: (channels, height, width) of the whole image.

    Raises:
      ValueError: the middle does not fit into the image.
    """

    height: int = DEFAULT_SHAPE[1]
    width: int = DEFAULT_SHAPE[2]
    channels: int = DEFAULT_SHAPE[0]
    shape: Shape = DEFAULT_SHAPE

    def __post_init__(self) -> None:
        margins = self.shape[1] - self.height, self.shape[2] - self.width
        fits = all(margin >= 0 and margin % 2 == 0 for margin in margins)
        if not (fits and min(self.height, self.width) > 0 and self.channels in (1, self.shape[0])):
            raise ValueError(
                f"{self.height} x {self.width} pixels of {self.channels} channels are not the "
                f"middle of an image of {self.shape}"
            )

    @property
    def _edges(self) -> tuple[int, int]:
        return (self.shape[1] - self.height) // 2, (self.shape[2] - self.width) // 2

    def crop(self, images: Tensor) -> Tensor:
        """Return the middle [n, c, height, width] of images [n, c, h, w], in all channels."""
        top, left = self._edges
        return images[:, :, top : top + self.height, left : left + self.width]

    def to_floats(self, images: Tensor) -> Tensor:
        """Convert bytes [n, c, h, w] to floats [n, channels, height, width] in [-1, 1]."""
        return self.crop(images)[:, : self.channels].float() / 127.5 - 1

    def to_images(self, drawn: Tensor) -> Tensor:
        """Convert floats in [-1, 1] to images [n, c, h, w] in [0, 1], differentiably."""
        top, left = self._edges
        inner = ((drawn + 1) / 2).clamp(0, 1).expand(-1, self.shape[0], -1, -1)
        return F.pad(inner, (left, left, top, top))

    def to_bytes(self, drawn: Tensor) -> Tensor:
        """Convert floats in [-1, 1] to bytes [n, c, h, w]."""
        return (self.to_images(drawn) * 255).round().byte()


def find_pixel_format(images: Tensor) -> PixelFormat:
    """Return the smallest format that holds all of `images`, bytes [n, c, h, w]."""
    channels, height, width = images.shape[1:]
    used = images.amax((0, 1)) > 0
    grey = bool((images == images[:, :1]).all())
    return PixelFormat(
        height - 2 * _black_edge(used.any(1)),
        width - 2 * _black_edge(used.any(0)),
        1 if grey else channels,
        (channels, height, width),
    )


def _black_edge(used: Tensor) -> int:
    """Return how many lines at both ends are unused, leaving `_LEAST` in the middle."""
    lines = used.nonzero().flatten().tolist()
    edge = min(lines[0], len(used) - 1 - lines[-1]) if lines else len(used)
    return max(0, min(edge, (len(used) - _LEAST) // 2))
