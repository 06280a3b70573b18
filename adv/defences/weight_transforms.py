"""Convolutions and linear layers whose weight passes through transforms before it is used.

Torch's parametrizations do this too, but rename the weight and refuse to be pickled, and each look
at such a weight makes it anew (here: draws noise). These layers keep `weight` as it is trained; a
transform is a child of the layer, maps a weight to a weight, and is asked in `forward` only.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class TransformedConv2d(nn.Conv2d):
    """A convolution with transforms."""

    transforms: nn.ModuleList

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return self._conv_forward(input, weight_of(self), self.bias)


class TransformedLinear(nn.Linear):
    """A linear layer with transforms."""

    transforms: nn.ModuleList

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return F.linear(input, weight_of(self), self.bias)


_KINDS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: TransformedConv2d,
    nn.Linear: TransformedLinear,
}
Weighted = nn.Conv2d | nn.Linear


def weight_of(layer: Weighted) -> Tensor:
    """The weight that the layer works with, after its transforms in the order of their coming."""
    weight: Tensor = layer.weight
    for change in getattr(layer, "transforms", ()):
        weight = change(weight)
    return weight


def weighted(net: nn.Module, wants: str) -> dict[str, Weighted]:
    """Every convolution and linear layer by its name, as the net lists them.

    Raises:
      ValueError: there is none; `wants` asks for them.
    """
    found = {name: m for name, m in net.named_modules() if isinstance(m, Weighted)}
    if not found:
        raise ValueError(f"{wants} needs a net with a convolution or a linear layer")
    return found


def transform(layer: Weighted, change: nn.Module) -> None:
    """Let the weight of a layer pass through `change`, after the transforms that it has.

    Raises:
      ValueError: the layer is of a kind whose forward pass is not known here.
    """
    if type(layer) in _KINDS:
        # The object stays: hooks, names in the state dict and other modules' references hold.
        layer.__class__ = _KINDS[type(layer)]  # type: ignore[assignment]
        layer.transforms = nn.ModuleList()
    elif type(layer) not in _KINDS.values():
        raise ValueError(f"the weight of a {type(layer).__name__} cannot be transformed")
    layer.transforms.append(change)  # type: ignore[operator,union-attr]
