"""Rectangles cut out of images, and patched into others."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

# Ours, on all images at once: torchvision's RandomErasing and CutMix draw one rectangle for a whole
# batch, from the global generator; kornia draws one for each image, but erases in 2 times and mixes
# in 7 times the time (batch of 128, one thread).

_AREA, _ASPECT, _TRIES = (0.02, 0.33), (0.3, 3.3), 10  # torchvision's


def cut_out(images: Tensor, side: int, generator: Generator) -> Tensor:
    """A black square around a random pixel of each image."""
    size = torch.full((2, len(images)), side)
    return images.masked_fill(inside(_around(images, size, generator), images), 0)


def erased(images: Tensor, probability: float, generator: Generator) -> Tensor:
    """A black rectangle inside each image, with this probability."""
    n, _, height, width = images.shape
    chosen = torch.rand(n, generator=generator) < probability
    area, aspect = torch.rand(2, n, _TRIES, generator=generator)
    area = height * width * (_AREA[0] + area * (_AREA[1] - _AREA[0]))
    low, high = (math.log(bound) for bound in _ASPECT)
    aspect = (low + aspect * (high - low)).exp()
    tries = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()]).round().long()
    fits = (tries[0] < height) & (tries[1] < width)  # so long that it does not fit: tried again
    first = fits.int().argmax(1)
    size = tries[:, torch.arange(n), first] * (chosen & fits.any(1))
    room = torch.tensor([[height + 1], [width + 1]]) - size
    start = (torch.rand(2, n, generator=generator) * room).long()
    return images.masked_fill(inside(torch.stack([start, start + size]), images), 0)


def cut_mixed(
    images: Tensor, labels: Tensor, probability: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Images with a part of another one, and probabilities [n, k] mixed by area; see `mixed`."""
    n, _, height, width = images.shape
    chosen = torch.rand(n, generator=generator) < probability
    other = torch.randperm(n, generator=generator).to(images.device)
    scale = torch.rand(n, generator=generator).sqrt() * chosen  # 1 - area is uniform: Beta(1, 1)
    side = torch.tensor([[height], [width]])
    box = _around(images, (side * scale).long(), generator)
    rows, columns = box[1] - box[0]
    share = (rows * columns / (height * width)).to(images.device)[:, None]
    patched = torch.where(inside(box, images), images[other], images)
    return patched, labels + share * (labels[other] - labels)


def _around(images: Tensor, size: Tensor, generator: Generator) -> Tensor:
    """Boxes of a `size` [2, n] around random pixels, and what of them lies in the image.

    [2, 2, n]: first row and column, then the first row and column past the end.
    """
    side = torch.tensor(images.shape[2:])[:, None]
    middle = (torch.rand(2, len(images), generator=generator) * side).long()
    start = middle - size // 2
    return torch.stack([start, start + size]).clamp(min=torch.tensor(0), max=side)


def inside(box: Tensor, images: Tensor) -> Tensor:
    """Which pixels lie in each image's box, bool [n, 1, h, w]."""
    box = box.to(images.device)[..., None]
    within = []
    for axis, length in enumerate(images.shape[2:]):
        place = torch.arange(length, device=images.device)
        within.append((place >= box[0, axis]) & (place < box[1, axis]))
    return (within[0][:, :, None] & within[1][:, None, :])[:, None]
