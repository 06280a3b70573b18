"""IDBH, augmentation for adversarial training (Li and Spratling, ICLR 2023, arXiv:2301.09879).

"Improved diversity and balanced hardness": their pipeline for CIFAR-10, weak or strong.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as tv

from adv.augment.colour import blended
from adv.augment.cutout_cutmix import erased, inside
from adv.augment.flip_crop import flipped, shifted, warped

_SHIFT = 10


def varied(images: Tensor, erasing: float, generator: Generator) -> Tensor:
    """Flipped, cut and shifted, changed in colour or shape, and erased with this probability."""
    images = flipped(images, 0.5, generator)
    images = _cut_and_shifted(images, generator)
    images = _one_of_eight(images, generator)
    return erased(images, erasing, generator)


def _cut_and_shifted(images: Tensor, generator: Generator) -> Tensor:
    """CropShift: a border of 0 to 10 pixels in all is lost, the rest put down anywhere, on black.

    Split at random between rows and columns, and each share between the two sides.
    """
    n, _, height, width = images.shape
    most = min(_SHIFT, height - 1, width - 1)
    lost = torch.randint(most + 1, (n,), generator=generator)
    columns = _up_to(lost, generator)
    lost = torch.stack([lost - columns, columns])
    cut, put = _up_to(lost, generator), _up_to(lost, generator)
    size = torch.tensor([[height], [width]]) - lost
    moved = shifted(images, cut - put, most)
    return moved * inside(torch.stack([put, put + size]), images)


def _up_to(most: Tensor, generator: Generator) -> Tensor:
    """Whole numbers from 0 to `most`, uniform."""
    return (torch.rand(most.shape, generator=generator) * (most + 1)).long()


def _one_of_eight(images: Tensor, generator: Generator) -> Tensor:
    """ColorShape: one of eight changes, each equally likely, its strength drawn for each image."""
    n = len(images)
    which = torch.randint(len(_CHANGES), (n,), generator=generator)
    strength, side = torch.rand(2, n, generator=generator)
    # Those of one change together; on the CPU, so that no device is waited for.
    order, counts = which.argsort(stable=True), which.bincount(minlength=len(_CHANGES)).tolist()
    sorted_images = images[order.to(images.device)].split(counts)
    parts = (strength[order].split(counts), side[order].split(counts))
    jobs = zip(_CHANGES, sorted_images, *parts, strict=True)
    changed = torch.cat([change(x, *drawn) for change, x, *drawn in jobs if len(x)])
    return changed[order.argsort().to(images.device)]


def _blend(adjust: Callable[[Tensor, float], Tensor], low: float, high: float) -> Change:
    return lambda x, strength, _: blended(x, adjust, low + strength * (high - low))


def _sheared(images: Tensor, strength: Tensor, side: Tensor) -> Tensor:
    """By an angle of 0.05 to 0.15, either way, along the rows or along the columns."""
    angle = 0.05 + 0.1 * strength
    slope = torch.where(side % 0.5 < 0.25, angle, -angle).tan()
    rows = side < 0.5
    inverse = torch.eye(2).repeat(len(images), 1, 1)
    inverse[:, 0, 1] = slope * rows
    inverse[:, 1, 0] = slope * ~rows
    return warped(images, inverse)


def _turned(images: Tensor, strength: Tensor, side: Tensor) -> Tensor:
    """By 1 to 10 whole degrees, to the left first."""
    angle = (1 + (10 * strength).floor()).deg2rad()
    angle = torch.where(side < 0.5, -angle, angle)
    cos, sin = angle.cos(), angle.sin()
    return warped(images, torch.stack([cos, sin, -sin, cos], 1).reshape(-1, 2, 2))


Change = Callable[[Tensor, Tensor, Tensor], Tensor]
_CHANGES: tuple[Change, ...] = (
    _blend(tv.adjust_saturation, 0.1, 1.9),
    _blend(tv.adjust_brightness, 0.5, 1.9),
    _blend(tv.adjust_contrast, 0.5, 1.9),
    _blend(tv.adjust_sharpness, 0.1, 1.9),
    lambda x, *_: tv.autocontrast(x),
    lambda x, *_: tv.equalize(x),
    _sheared,
    _turned,
)
