"""IDBH, an augmentation for adversarial training (Li and Spratling, ICLR 2023, arXiv:2301.09879).

"Improved diversity and balanced hardness": their pipeline for CIFAR-10, weak or strong.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as tv

from adv.augment.colour import Plain, black, blend, flat_grey, grey
from adv.augment.cutout_cutmix import box_mask, random_erasing
from adv.augment.flip_crop import random_flip, shift, warp

_SHIFT = 10
ERASING = {"weak": 0.5, "strong": 1.0}
"""The probability of random erasing, by the strength of the augmentation."""


def apply_idbh(images: Tensor, erasing: float, generator: Generator) -> Tensor:
    """Flip, crop and shift, change colour or shape, and erase a rectangle with this probability."""
    images = random_flip(images, 0.5, generator)
    images = _crop_shift(images, generator)
    images = _colour_shape(images, generator)
    return random_erasing(images, erasing, generator)


def _crop_shift(images: Tensor, generator: Generator) -> Tensor:
    """CropShift: crop 0 to 10 rows and columns in all, and put the rest anywhere on black.

    They are split at random between rows and columns, and each share between the two sides.
    """
    n, _, height, width = images.shape
    most = min(_SHIFT, height - 1, width - 1)
    lost = torch.randint(most + 1, (n,), generator=generator)
    columns = _up_to(lost, generator)
    lost = torch.stack([lost - columns, columns])
    cut, put = _up_to(lost, generator), _up_to(lost, generator)
    size = torch.tensor([[height], [width]]) - lost
    moved = shift(images, cut - put, most)
    return moved * box_mask(torch.stack([put, put + size]), images)


def _up_to(most: Tensor, generator: Generator) -> Tensor:
    """Draw whole numbers from 0 to `most`, uniformly."""
    return (torch.rand(most.shape, generator=generator) * (most + 1)).long()


def _colour_shape(images: Tensor, generator: Generator) -> Tensor:
    """ColorShape: one of eight changes, equally likely, with a strength drawn for each image."""
    n = len(images)
    which = torch.randint(len(_CHANGES), (n,), generator=generator)
    strength, side = torch.rand(2, n, generator=generator)
    # Grouped by change; sorted on the CPU, so that no device has to be waited for.
    order, counts = which.argsort(stable=True), which.bincount(minlength=len(_CHANGES)).tolist()
    sorted_images = images[order.to(images.device)].split(counts)
    drawn = (strength[order].split(counts), side[order].split(counts))
    jobs = zip(_CHANGES, sorted_images, *drawn, strict=True)
    changed = torch.cat([change(x, *settings) for change, x, *settings in jobs if len(x)])
    return changed[order.argsort().to(images.device)]


def _blend(plain: Plain, low: float, high: float) -> Change:
    return lambda x, strength, _: blend(x, plain, low + strength * (high - low))


def _blurred(images: Tensor) -> Tensor:
    return tv.adjust_sharpness(images, 0.0)


def _shear(images: Tensor, strength: Tensor, side: Tensor) -> Tensor:
    """Shear by an angle of 0.05 to 0.15, in either sense, along the rows or along the columns."""
    angle = 0.05 + 0.1 * strength
    slope = torch.where(side % 0.5 < 0.25, angle, -angle).tan()
    rows = side < 0.5
    inverse = torch.eye(2).repeat(len(images), 1, 1)
    inverse[:, 0, 1] = slope * rows
    inverse[:, 1, 0] = slope * ~rows
    return warp(images, inverse)


def _rotate(images: Tensor, strength: Tensor, side: Tensor) -> Tensor:
    """Rotate by 1 to 10 whole degrees; to the left if `side` is below 0.5."""
    angle = (1 + (10 * strength).floor()).deg2rad()
    angle = torch.where(side < 0.5, -angle, angle)
    cos, sin = angle.cos(), angle.sin()
    return warp(images, torch.stack([cos, sin, -sin, cos], 1).reshape(-1, 2, 2))


Change = Callable[[Tensor, Tensor, Tensor], Tensor]
_CHANGES: tuple[Change, ...] = (
    _blend(grey, 0.1, 1.9),
    _blend(black, 0.5, 1.9),
    _blend(flat_grey, 0.5, 1.9),
    _blend(_blurred, 0.1, 1.9),
    lambda x, *_: tv.autocontrast(x),
    lambda x, *_: tv.equalize(x),
    _shear,
    _rotate,
)
