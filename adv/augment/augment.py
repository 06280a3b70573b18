"""The augmentation of training images, as a value, and the two functions that apply it.

Crop and flip are the common defaults for small images (He et al. 2016, arXiv:1512.03385, sec. 4.2).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, get_args

from adv.suggestions import suggest

if TYPE_CHECKING:
    from torch import Generator, Tensor

IDBH = Literal["off", "weak", "strong"]


@dataclass(frozen=True)
class Augment:
    """The settings of an augmentation. The defaults change nothing, and are then false.

    They are applied in this order, `resized_crop` first and `idbh` after `jitter`. Pixels that are
    cut out or come in from outside are black, as in the published recipes of robust training.

    Args:
        flip: probability of a horizontal flip, in [0, 1].
        crop: pixels of black border added on every side before a random crop back to the image's
            size, 0 to 16.
        jitter: strength of brightness, contrast and saturation, in [0, 1]: each is multiplied by
            a factor uniform in [1 - jitter, 1 + jitter].
        cutout: side in pixels, 0 to 16, of a square around a random pixel, which may reach beyond
            the image (DeVries and Taylor 2017, arXiv:1708.04552; they use 16 on CIFAR-10).
        erasing: probability of erasing a rectangle of 2 to 33 % of the image, sides 0.3 to 3.3
            (Zhong et al. 2020, arXiv:1708.04896; the ranges are torchvision's).
        resized_crop: smallest share of the image, in (0, 1], that a random resized crop keeps: a
            rectangle of that share to all of it, sides 3/4 to 4/3 to each other, enlarged to the
            image's size (Szegedy et al. 2015; 0.08 on ImageNet); 0 for none. Evaluation sees the
            centre crop that the images were read with.
        mixup: probability, for each image, of a mean with another image of the batch, the label
            likewise, with a weight uniform in [0, 1] (Zhang et al. 2018, arXiv:1710.09412, with
            alpha 1). Only `mix_images` applies it.
        cutmix: probability, for each image, of a rectangle from another image of the batch, whose
            label is mixed in (Yun et al. 2019, arXiv:1905.04899, with alpha 1). Only `mix_images`
            applies it.
        idbh: "weak" or "strong": flip, crop and shift, one of eight changes of colour or shape, and
            random erasing of half or of all images (Li and Spratling 2023, arXiv:2301.09879). It
            brings a flip, a crop and an erasing of its own.

    Raises:
        ValueError: a setting outside its range.
    """

    flip: float = 0.0
    crop: int = 0
    jitter: float = 0.0
    cutout: int = 0
    erasing: float = 0.0
    cutmix: float = 0.0
    idbh: IDBH = "off"
    resized_crop: float = 0.0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "jitter", "erasing", "cutmix", "resized_crop", "mixup"):
            value = getattr(self, name)
            if not 0 <= value <= 1:  # false for NaN too
                raise ValueError(f"{name} is in [0, 1], not {value}")
        for name in ("crop", "cutout"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 0 <= value <= 16:
                raise ValueError(f"{name} is a whole number of pixels from 0 to 16, not {value}")
        if self.idbh not in get_args(IDBH):
            near = suggest(str(self.idbh), get_args(IDBH))
            raise ValueError(f"idbh is off, weak or strong, not {self.idbh!r}{near}")

    def __repr__(self) -> str:
        """Return the expression of the value; younger settings are named only where they are set.

        A training goes on from a state of an earlier version only if the recipe reads the same.
        """
        young = {"resized_crop", "mixup"}
        named = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)
            if field.name not in young or getattr(self, field.name) != field.default
        ]
        return f"Augment({', '.join(named)})"

    def __bool__(self) -> bool:
        return self != Augment()


def augment_images(augment: Augment, images: Tensor, generator: Generator) -> Tensor:
    """Augment images, each by its own draw, with all but what mixes labels, so that these stay.

    Args:
        augment: the settings; if they change nothing, `images` itself is returned.
        images: float [n, 3, h, w] in [0, 1], on any device. Not changed.
        generator: a CPU generator, the only source of randomness: the same on every device.

    Returns:
        Images of the same shape, type and device, in [0, 1].
    """
    if len(images) == 0:
        return images
    from adv.augment import colour, cutout_cutmix, flip_crop

    if augment.resized_crop:
        images = flip_crop.random_resized_crop(images, augment.resized_crop, generator)
    if augment.flip:
        images = flip_crop.random_flip(images, augment.flip, generator)
    if augment.crop:
        images = flip_crop.random_crop(images, augment.crop, generator)
    if augment.jitter:
        images = colour.colour_jitter(images, augment.jitter, generator)
    if augment.idbh != "off":
        from adv.augment import idbh  # imports torchvision, for seconds

        images = idbh.apply_idbh(images, idbh.ERASING[augment.idbh], generator)
    if augment.cutout:
        images = cutout_cutmix.cutout(images, augment.cutout, generator)
    if augment.erasing:
        images = cutout_cutmix.random_erasing(images, augment.erasing, generator)
    return images


def mix_images(
    augment: Augment, images: Tensor, labels: Tensor, classes: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Apply CutMix, then mixup: some images take a part of another, and of its label.

    Args:
        augment: only `cutmix` and `mixup` are used; at 0 `images` itself is returned and nothing is
            drawn.
        images: float [n, c, h, w], on any device. Not changed.
        labels: [n] classes, or [n, classes] probabilities, on the same device.
        classes: number of classes.
        generator: a CPU generator, the only source of randomness.

    Returns:
        The images, and float32 [n, classes]: each label's probability is its share of the image.
    """
    import torch.nn.functional as F

    from adv.augment import cutout_cutmix

    if labels.dim() == 1:
        labels = F.one_hot(labels, classes)
    labels = labels.float()
    if augment.cutmix and len(images):
        images, labels = cutout_cutmix.cutmix(images, labels, augment.cutmix, generator)
    if augment.mixup and len(images):
        images, labels = cutout_cutmix.mixup(images, labels, augment.mixup, generator)
    return images, labels
