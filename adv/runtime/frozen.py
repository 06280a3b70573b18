"""The one place that decides the mode of a model under attack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode and no weight gradients; both are put back afterwards, layer by layer.

    BatchNorm uses its running statistics and leaves them alone, dropout is off. A random defence
    stays on: it does not hang on the mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        model.eval()
        for weight, _ in wanted:
            weight.requires_grad_(False)
        yield model
    finally:
        for module, training in modes:
            module.training = training
        for weight, requires_grad in wanted:
            weight.requires_grad_(requires_grad)
