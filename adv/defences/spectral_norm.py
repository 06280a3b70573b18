"""Spectral normalisation (Miyato et al., ICLR 2018) of every convolution and linear layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from adv.defences.defence import Defence
from adv.defences.lipschitz import layer_norms, lipschitz_bound
from adv.defences.operator_norm import Operator, kernel_of, most_stretched, operator_of, sizes_met
from adv.defences.weight_transforms import Weighted, transform, weighted
from adv.suggestions import suggest

_STEPS = 5  # at a high rate one step of power iteration lags by a third, these by a tenth


@dataclass(frozen=True)
class SpectralNorm(Defence):
    """Each weight is divided by a norm and multiplied by `bound`.

    Each training pass looks for the norm from where the last one ended (power iteration, sped up),
    evaluation takes it as it is. While weights move quickly it lags by a few percent.

    Args:
      kind: "kernel", the norm of the kernel as a matrix (out, in * k * k), which is the report's,
        torch's, and not the norm of the convolution; or "convolution", the norm of the operator on
        the size of input that it meets. Linear layers are the same in both.
      bound: what the norm of each layer is set to, above 0.

    Figures: `largest_norm`, the largest true norm of a layer, which the kernel's kind lets grow to
    k times `bound`; `lipschitz_bound`, the product of all, where the net is a sequence of layers.

    Raises:
      ValueError: a setting that there is not; on a call: the net has no such layer, or one whose
        norm is not known.
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
        layers = weighted(net, "SpectralNorm")
        for layer, operator in [(layers[k], op) for k, op in self._operators(net, layers).items()]:
            transform(layer, Normed(operator, layer.weight.detach(), self.bound))
        return net

    def figures(self, net: nn.Module) -> dict[str, float]:
        largest = {"largest_norm": max(layer_norms(net).values())}
        try:
            return {**largest, "lipschitz_bound": lipschitz_bound(net)}
        except ValueError:  # no sequence of layers: then the product bounds nothing
            return largest

    def _operators(self, net: nn.Module, layers: dict[str, Weighted]) -> dict[str, Operator]:
        if self.kind == "kernel":
            return {name: kernel_of(layer) for name, layer in layers.items()}
        sizes = sizes_met(net, lambda module: isinstance(module, Weighted))
        return {name: operator_of(layers[name], size) for name, size in sizes.items()}


class Normed(nn.Module):
    """Divides a weight by its operator's norm. `direction` is what the operator stretches most."""

    direction: Tensor

    def __init__(self, operator: Operator, weight: Tensor, bound: float) -> None:
        super().__init__()
        self.operator = operator
        self.bound = bound
        self.register_buffer("direction", most_stretched(operator, weight, steps=20))

    def forward(self, weight: Tensor) -> Tensor:
        # In float32 whatever the net runs in: 8 bits do not tell neighbouring directions apart.
        with torch.autocast(weight.device.type, enabled=False):
            if self.training:
                found = most_stretched(self.operator, weight.detach(), _STEPS, self.direction)
                self.direction.copy_(found)
            # A copy: two passes may come before one backward, and the second moves the buffer.
            norm = self.operator.ahead(weight, self.direction.clone()).norm()
            return weight * (self.bound / norm.clamp(min=1e-12))

    def extra_repr(self) -> str:
        return f"{type(self.operator).__name__.lower()}, bound={self.bound:g}"
