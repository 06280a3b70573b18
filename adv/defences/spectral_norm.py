"""Spectral normalisation (Miyato et al., ICLR 2018) of every convolution and linear layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from adv.defences.defence import Defence, replace_module
from adv.defences.lipschitz import layer_norms, lipschitz_bound
from adv.defences.operator_norm import (
    Operator,
    input_sizes,
    kernel_operator,
    linear_operator,
    top_singular_vector,
)
from adv.defences.weight_transforms import WeightLayer, add_transform, weight_layers
from adv.suggestions import suggest

_STEPS = 5  # at a high learning rate one step of power iteration lags by a third, these by a tenth


@dataclass(frozen=True)
class SpectralNorm(Defence):
    """Divide each weight by its spectral norm, and multiply it by `bound`.

    Each training pass updates the norm from the singular vector of the last one (accelerated power
    iteration); evaluation uses it as it is. While weights move quickly it lags by a few percent.

    Args:
      kind: "kernel", the norm of the kernel as a matrix (out, in * k * k), as in torch and in the
        report, which is not the norm of the convolution; or "convolution", the norm of the operator
        at the input size that the layer has in this net. For linear layers both are the same.
      bound: the norm that each layer is given, above 0.

    Figures: `largest_norm`, the largest true norm of a layer, which "kernel" allows to grow to k
    times `bound`; `lipschitz_bound`, the product of all norms, if the net is a sequence of layers.

    Raises:
      ValueError: a setting is unknown or out of its range; on a call: the net has no such layer, or
        one whose norm is not known.
    """

    kind: Literal["kernel", "convolution"] = "kernel"
    bound: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("kernel", "convolution"):
            near = suggest(str(self.kind), ("kernel", "convolution"))
            raise ValueError(f"the norm is of a kernel or a convolution, got {self.kind!r}{near}")
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise ValueError(f"the bound of a norm is above 0, got {self.bound}")

    def __call__(self, net: nn.Module) -> nn.Module:
        layers = weight_layers(net, "SpectralNorm")
        for name, operator in self._operators(net, layers).items():
            layer = layers[name]
            division = SpectralDivision(operator, layer.weight.detach(), self.bound)
            net = replace_module(net, layer, add_transform(layer, division, name))
        return net

    def figures(self, net: nn.Module) -> dict[str, float]:
        largest = {"largest_norm": max(layer_norms(net).values())}
        try:
            return {**largest, "lipschitz_bound": lipschitz_bound(net)}
        except ValueError:  # not a sequence of layers: the product is no bound
            return largest

    def _operators(self, net: nn.Module, layers: dict[str, WeightLayer]) -> dict[str, Operator]:
        if self.kind == "kernel":
            return {name: kernel_operator(layer) for name, layer in layers.items()}
        sizes = input_sizes(net, lambda module: isinstance(module, WeightLayer))
        return {name: linear_operator(layers[name], size) for name, size in sizes.items()}


class SpectralDivision(nn.Module):
    """Divides a weight by the norm of its operator.

    Attributes:
      direction: the operator's top right singular vector, of length 1; a buffer.
    """

    direction: Tensor

    def __init__(self, operator: Operator, weight: Tensor, bound: float) -> None:
        super().__init__()
        self.operator = operator
        self.bound = bound
        self.register_buffer("direction", top_singular_vector(operator, weight, steps=20))

    def forward(self, weight: Tensor) -> Tensor:
        # In float32 whatever the net runs in: 8 bits do not tell neighbouring directions apart.
        with torch.autocast(weight.device.type, enabled=False):
            if self.training:
                start = self.direction
                vector = top_singular_vector(self.operator, weight.detach(), _STEPS, start)
                self.direction.copy_(vector)
            # A copy: two passes may come before one backward, and the second moves the buffer.
            norm = self.operator.matvec(weight, self.direction.clone()).norm()
            return weight * (self.bound / norm.clamp(min=1e-12))

    def extra_repr(self) -> str:
        return f"{type(self.operator).__name__.lower()}, bound={self.bound:g}"
