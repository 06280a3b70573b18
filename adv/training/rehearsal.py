"""Try the net of a recipe before a training begins, if it or its weights come from elsewhere."""

from __future__ import annotations

import torch
from torch import nn

from adv.attacks.gradient import loss_and_grad
from adv.external.foreign_net import foreign_parts
from adv.runtime.foreign_nets import protect_images
from adv.runtime.frozen import frozen
from adv.shape import Shape
from adv.training.recipe import Recipe, build


def rehearse(recipe: Recipe, classes: int, shape: Shape) -> nn.Module:
    """Build the net of a recipe with its initial weights, and try a step if it is not ours.

    Args:
      recipe: of the net.
      classes: number of classes.
      shape: channels, height and width of the images.

    Returns:
      The net, on the CPU.

    Raises:
      ValueError: in one line: the net cannot be made, its weights do not fit, it passes no gradient
        to its images, as attacks in training need it, or it fails in training mode.
    """
    net = build(recipe, classes, 0, shape, initial=True)
    if not foreign_parts(net):
        return net
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, *shape, generator=generator)
    labels = torch.arange(4) % classes
    with torch.random.fork_rng(devices=[]):
        with frozen(net):
            loss_and_grad(net, images, labels)
        _take_gradient(net, images, labels)
    return net


def _take_gradient(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Take the gradient of the weights in training mode."""
    with protect_images(net):
        try:
            loss = nn.functional.cross_entropy(net.train()(images), labels)
        except ValueError as error:
            raise ValueError(f"in training mode, {error}") from error
    if not loss.requires_grad:
        raise ValueError("the net has no weight to train")
    loss.backward()
