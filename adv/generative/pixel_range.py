"""Restrict a generator to the part of the images that varies: no constant frame, no unused colour.

Digits are 8 x 8 grey pixels in the middle of a black 3 x 32 x 32 image: 1/48 of the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

SIDE, SIDES = 32, (8, 16, 32)


@dataclass(frozen=True)
class PixelFormat:
    """The middle `side` x `side` pixels of an image, in 1 (grey) or 3 channels.

    Raises:
      ValueError: a side other than 8, 16 or 32, or another number of channels.
    """

    side: int = SIDE
    channels: int = 3

    def __post_init__(self) -> None:
        if self.side not in SIDES or self.channels not in (1, 3):
            raise ValueError(
                f"an image must be drawn with 8, 16 or 32 pixels a side and 1 or 3 channels, "
                f"not {self.side} and {self.channels}"
            )

    def to_floats(self, images: Tensor) -> Tensor:
        """Convert bytes [n, 3, 32, 32] to floats [n, channels, side, side] in [-1, 1]."""
        edge = (SIDE - self.side) // 2
        inner = images[:, : self.channels, edge : SIDE - edge, edge : SIDE - edge]
        return inner.float() / 127.5 - 1

    def to_images(self, drawn: Tensor) -> Tensor:
        """Convert floats in [-1, 1] to images [n, 3, 32, 32] in [0, 1], differentiably."""
        inner = ((drawn + 1) / 2).clamp(0, 1).expand(-1, 3, -1, -1)
        return F.pad(inner, ((SIDE - self.side) // 2,) * 4)

    def to_bytes(self, drawn: Tensor) -> Tensor:
        """Convert floats in [-1, 1] to bytes [n, 3, 32, 32]."""
        return (self.to_images(drawn) * 255).round().byte()


def find_pixel_format(images: Tensor) -> PixelFormat:
    """Return the smallest format that holds all of `images`, bytes [n, 3, 32, 32].

    Raises:
      ValueError: images of another size.
    """
    if images.shape[1:] != (3, SIDE, SIDE):
        raise ValueError(f"images must be [n, 3, 32, 32], got {list(images.shape)}")
    most = images.amax(0)
    grey = bool((images == images[:, :1]).all())
    for side in SIDES[:-1]:
        edge = (SIDE - side) // 2
        inner = most[:, edge : SIDE - edge, edge : SIDE - edge]
        if int(inner.long().sum()) == int(most.long().sum()):
            return PixelFormat(side, 1 if grey else 3)
    return PixelFormat(SIDE, 1 if grey else 3)
