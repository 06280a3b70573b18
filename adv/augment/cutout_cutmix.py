"""Cutout, random erasing, CutMix and mixup: images lose a part, or take one of another image."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

# Ours, on all images at once: torchvision's RandomErasing and CutMix draw one rectangle for a whole
# batch, from the global generator; kornia draws one for each image, but erases in 2 times and mixes
# in 7 times the time (batch of 128, one thread).

_AREA, _ASPECT, _TRIES = (0.02, 0.33), (0.3, 3.3), 10  # torchvision's


def cutout(images: Tensor, side: int, generator: Generator) -> Tensor:
    """Blacken a square around a random pixel of each image."""
    size = torch.full((2, len(images)), side)
    return images.masked_fill(box_mask(_random_boxes(images, size, generator), images), 0)


def random_erasing(images: Tensor, probability: float, generator: Generator) -> Tensor:
    """Blacken a rectangle inside each image, with this probability."""
    n, _, height, width = images.shape
    chosen = torch.rand(n, generator=generator) < probability
    area, aspect = torch.rand(2, n, _TRIES, generator=generator)
    area = height * width * (_AREA[0] + area * (_AREA[1] - _AREA[0]))
    low, high = (math.log(bound) for bound in _ASPECT)
    aspect = (low + aspect * (high - low)).exp()
    tries = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()]).round().long()
    fits = (tries[0] < height) & (
        tries[1] < width
    )  # one side may be too long: the next try is taken
    first = fits.int().argmax(1)
    size = tries[:, torch.arange(n), first] * (chosen & fits.any(1))
    room = torch.tensor([[height + 1], [width + 1]]) - size
    start = (torch.rand(2, n, generator=generator) * room).long()
    return images.masked_fill(box_mask(torch.stack([start, start + size]), images), 0)


def cutmix(
    images: Tensor, labels: Tensor, probability: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Copy a rectangle from another image, and mix the probabilities [n, k] by its area."""
    n, _, height, width = images.shape
    chosen = torch.rand(n, generator=generator) < probability
    other = torch.randperm(n, generator=generator).to(images.device)
    scale = torch.rand(n, generator=generator).sqrt() * chosen  # 1 - area is uniform: Beta(1, 1)
    side = torch.tensor([[height], [width]])
    box = _random_boxes(images, (side * scale).long(), generator)
    rows, columns = box[1] - box[0]
    share = (rows * columns / (height * width)).to(images.device)[:, None]
    patched = torch.where(box_mask(box, images), images[other], images)
    return patched, labels + share * (labels[other] - labels)


def mixup(
    images: Tensor, labels: Tensor, probability: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Take the mean with another image, and of the probabilities [n, k], by a random weight."""
    n = len(images)
    chosen = torch.rand(n, generator=generator) < probability
    other = torch.randperm(n, generator=generator).to(images.device)
    share = (torch.rand(n, generator=generator) * chosen).to(images.device)  # Beta(1, 1)
    mixed = images + share[:, None, None, None] * (images[other] - images)
    return mixed, labels + share[:, None] * (labels[other] - labels)


def _random_boxes(images: Tensor, size: Tensor, generator: Generator) -> Tensor:
    """Draw boxes of a `size` [2, n] around random pixels, clipped to the image.

    Returns:
      [2, 2, n]: first row and column, then the first row and column past the end.
    """
    side = torch.tensor(images.shape[2:])[:, None]
    middle = (torch.rand(2, len(images), generator=generator) * side).long()
    start = middle - size // 2
    return torch.stack([start, start + size]).clamp(min=torch.tensor(0), max=side)


def box_mask(box: Tensor, images: Tensor) -> Tensor:
    """Return which pixels lie in each image's box, bool [n, 1, h, w]."""
    box = box.to(images.device)[..., None]
    within = []
    for axis, length in enumerate(images.shape[2:]):
        place = torch.arange(length, device=images.device)
        within.append((place >= box[0, axis]) & (place < box[1, axis]))
    return (within[0][:, :, None] & within[1][:, None, :])[:, None]
