"""The batches of an epoch: images in random order, generated ones among them, and augmented."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adv.augment import augment_images, mix_images
from adv.external.foreign_net import foreign_parts
from adv.runtime.foreign_nets import memory_format_of
from adv.training.training_state import TrainingState


def shuffle(training: TrainingState) -> Sequence[Tensor]:
    """Return the indices of the images of each batch of an epoch, in a new random order.

    A last batch of one image, which BatchNorm in a net of another project may refuse, joins the
    batch before it.
    """
    order = torch.randperm(len(training.data), generator=training.order)
    batches = order.to(training.device).split(training.recipe.batch)
    if len(batches) > 1 and len(batches[-1]) == 1 and foreign_parts(training.net):
        return (*batches[:-2], torch.cat(batches[-2:]))
    return batches


def load_batch(training: TrainingState, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Load images and labels of the training split, and augment them.

    Args:
      training: whose images, augmentation and generators are used.
      indices: of the images, [n]; generated images replace some of them if the recipe says so.

    Returns:
      Images [n, c, h, w] in [0, 1], and labels: [n], or [n, classes] probabilities after CutMix or
      mixup.
    """
    recipe = training.recipe
    images, y = training.images.take(indices), training.data.labels[indices]
    if training.pool is not None:
        images, y = training.pool.mix_into(images, y, training.choice)
    x = augment_images(recipe.augment, images.float() / 255, training.augmentation)
    if recipe.augment.cutmix or recipe.augment.mixup:
        x, y = mix_images(recipe.augment, x, y, training.classes, training.augmentation)
    return x.contiguous(memory_format=memory_format_of(training.net)), y
