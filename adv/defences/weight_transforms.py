"""Convolutions and linear layers whose weight passes through transforms before it is used.

Torch's parametrizations do this too, but rename the weight, cannot be pickled, and recompute the
transform (here: draw noise) at each access of the weight. These layers keep `weight` as it is
trained; a transform is a child of the layer, maps a weight to a weight, and is called in `forward`
only.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class TransformedConv2d(nn.Conv2d):
    """A convolution with transforms."""

    transforms: nn.ModuleList

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        return self._conv_forward(input, effective_weight(self), self.bias)


class TransformedLinear(nn.Linear):
    """A linear layer with transforms."""

    transforms: nn.ModuleList

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        return F.linear(input, effective_weight(self), self.bias)


Transformed = TransformedConv2d | TransformedLinear
WeightLayer = nn.Conv2d | nn.Linear
_TRANSFORMED: dict[type[nn.Module], type[Transformed]] = {
    nn.Conv2d: TransformedConv2d,
    nn.Linear: TransformedLinear,
}


def effective_weight(layer: WeightLayer) -> Tensor:
    """Return the weight that a layer computes with: its own, after all transforms in order."""
    weight: Tensor = layer.weight
    if isinstance(layer, Transformed):
        for transform in layer.transforms:
            weight = transform(weight)
    return weight


def weight_layers(net: nn.Module, needed_by: str) -> dict[str, WeightLayer]:
    """Return every convolution and linear layer by its name, in the order of the net.

    Raises:
      ValueError: there is none; `needed_by` names what needs one.
    """
    layers = {name: m for name, m in net.named_modules() if isinstance(m, WeightLayer)}
    if not layers:
        raise ValueError(f"{needed_by} needs a net with a convolution or a linear layer")
    return layers


def add_transform(layer: WeightLayer, transform: nn.Module, name: str = "") -> Transformed:
    """Return a layer whose weight passes through `transform`, after the transforms it already has.

    A plain layer is not changed: the one returned shares its parameters and hooks, and is to be put
    in its place (`replace_module`). A layer with transforms is extended and returned.

    Args:
      layer: a convolution or a linear layer.
      transform: maps its weight to a weight.
      name: of the layer, for the message.

    Raises:
      ValueError: the layer is a subclass whose forward pass is not known here.
    """
    if not isinstance(layer, Transformed):
        layer = _make_transformed(layer, name)
    layer.transforms.append(transform)
    return layer


def _make_transformed(layer: WeightLayer, name: str) -> Transformed:
    kind = _TRANSFORMED.get(type(layer))
    if kind is None:
        where = f" ({name})" if name else ""
        raise ValueError(f"the weight of a {type(layer).__name__}{where} cannot be transformed")
    transformed = kind.__new__(kind)  # not __init__, which would draw weights
    transformed.__setstate__({**vars(layer), "_modules": {}})
    transformed.transforms = nn.ModuleList()
    return transformed
