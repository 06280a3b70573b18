"""Colour jitter: an image is blended with a plainer version of itself, or extrapolated from it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as tv


def colour_jitter(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Multiply brightness, contrast and saturation by factors from [1 - s, 1 + s].

    Each image has its own factors; the order of the three is drawn once for the batch.
    """
    # kornia's ColorJitter does the same in 2.3 times the time, and draws from the global generator.
    adjusts = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)
    factors = 1 + strength * (2 * torch.rand(3, len(images), generator=generator) - 1)
    for i in torch.randperm(3, generator=generator).tolist():
        images = blend(images, adjusts[i], factors[i])
    return images


def blend(images: Tensor, adjust: Callable[[Tensor, float], Tensor], factor: Tensor) -> Tensor:
    """Apply one of torchvision's `adjust_...` with a factor [n] for each image.

    The result goes from a plain image at factor 0 (grey, black, blurred) through the image at 1 and
    beyond. Torchvision takes one factor for a whole batch, so only its plain image is used.
    """
    factor = factor.to(images)[:, None, None, None]
    # In place if possible: torch.lerp on whole plain images takes 2.5 times as long.
    blended = images * factor
    if adjust is not tv.adjust_brightness:  # whose plain image is black
        plain = _PLAIN.get(adjust, lambda images: adjust(images, 0.0))
        blended += plain(images) * (1 - factor)
    return blended.clamp_(0, 1)


def _grey(images: Tensor) -> Tensor:
    """Return the luma of ITU-R 601 [n, 1, h, w], with torchvision's coefficients.

    One channel is its own; of any other number but 3 it is the mean.
    """
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    red, green, blue = images.unbind(1)
    return (0.2989 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)[:, None]


_PLAIN: dict[Callable[[Tensor, float], Tensor], Callable[[Tensor], Tensor]] = {
    tv.adjust_saturation: _grey,
    tv.adjust_contrast: lambda images: _grey(images).mean((1, 2, 3), keepdim=True),
}
