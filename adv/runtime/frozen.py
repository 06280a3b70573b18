"""The one place that decides the mode of a model while it is attacked or evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from adv.runtime.foreign_nets import protect_images


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """Put a model into evaluation mode without weight gradients; on exit restore both, by layer.

    BatchNorm uses its running statistics and does not update them; dropout is off. A random defence
    stays on: it does not depend on the mode. Parts of the model that are not ours get copies of
    their images (`adv.runtime.foreign_nets`).
    """
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        model.eval()
        for weight, _ in gradients:
            weight.requires_grad_(False)
        with protect_images(model):
            yield model
    finally:
        for module, training in modes:
            module.training = training
        for weight, requires_grad in gradients:
            weight.requires_grad_(requires_grad)
