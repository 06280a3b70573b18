"""A classifier trained on real images without attacks, to label generated images and to score them.

Gowal et al. 2021 label generated images by a net that need not be robust. The classifier's features
replace those of the Inception net, which would have to be downloaded; scores computed from them
are named accordingly.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from adv.augment import Augment
from adv.data.datasets import Split
from adv.models import BigNet, ResNet18
from adv.runtime.devices import device_of
from adv.runtime.frozen import frozen
from adv.training.curriculum import Curriculum
from adv.training.loop import train
from adv.training.objectives import Mixed
from adv.training.optimizers import SGD, AdamW
from adv.training.recipe import Recipe
from adv.training.schedules import OneCycle

_BATCH = 250
_NO_ATTACK = Curriculum(eps=0.0, steps=1, fraction=0.0)


def natural_recipe(epochs: int = 30) -> Recipe:
    """Return the recipe of a ResNet-18 without attacks, for data like CIFAR-10."""
    return Recipe(
        net=ResNet18(),
        optimizer=SGD(lr=0.1, decay=OneCycle()),
        curriculum=_NO_ATTACK,
        objective=Mixed(),
        augment=Augment(flip=0.5, crop=4),
        epochs=epochs,
    )


def laptop_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe for two CPU cores: BigNet, without flips, which would change digits."""
    return replace(
        recipe,
        net=BigNet(),
        optimizer=AdamW(lr=2e-3, decay=OneCycle()),
        augment=Augment(),
        epochs=15,
        batch=64,
    )


def train_classifier(
    recipe: Recipe, real: Split, classes: int, seed: int = 0, device: torch.device | str = "cpu"
) -> nn.Module:
    """Train a recipe and return the net after its last epoch, in evaluation mode."""
    for epoch in train(recipe, real, classes=classes, seed=seed, device=device):
        net = epoch.net
    return copy.deepcopy(net).eval()


@torch.no_grad()
def predict(net: nn.Module, images: Tensor) -> Tensor:
    """Return the most likely class [n] of images [n, c, h, w], bytes; on the CPU."""
    device = device_of(net)
    with frozen(net):
        found = [net(x.to(device).float() / 255).argmax(1).cpu() for x in images.split(_BATCH)]
    return torch.cat(found)


@torch.no_grad()
def features(net: nn.Module, images: Tensor) -> Tensor:
    """Return the inputs [n, d] of the net's last linear layer, float64, for bytes [n, c, h, w].

    Raises:
      ValueError: the net has no linear layer.
    """
    layers = [module for module in net.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError("the net has no linear layer whose input could be its features")
    inputs: list[Tensor] = []

    def record(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        inputs.append(given[0].double().cpu())

    hook = layers[-1].register_forward_pre_hook(record)
    device = device_of(net)
    try:
        with frozen(net):
            for x in images.split(_BATCH):
                net(x.to(device).float() / 255)
    finally:
        hook.remove()
    return torch.cat(inputs).flatten(1)
