"""Layers that keep their weights while the others are trained, as fine-tuning wants it."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase


def freeze_layers(net: nn.Module, share: float) -> None:
    """Let the first layers of a net keep their weights.

    A layer is a module with weights of its own; they count in the order in which the net has them,
    which is usually that of a forward pass.

    Args:
      net: changed in place.
      share: of the layers, in [0, 1); 0 changes nothing. At least one layer is left to train.
    """
    layers = [module for module in net.modules() if [*module.parameters(recurse=False)]]
    for layer in layers[: min(round(share * len(layers)), len(layers) - 1)]:
        for weight in layer.parameters(recurse=False):
            weight.requires_grad_(False)


def set_training_mode(net: nn.Module) -> None:
    """Put a net into training mode, all but its frozen BatchNorm, which keeps its statistics."""
    net.train()
    for module in net.modules():
        if isinstance(module, _NormBase) and is_frozen(module):
            module.eval()


def is_frozen(layer: nn.Module) -> bool:
    """Return whether a layer has weights and none of them is trained."""
    weights = [*layer.parameters(recurse=False)]
    return bool(weights) and not any(weight.requires_grad for weight in weights)
