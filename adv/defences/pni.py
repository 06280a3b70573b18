"""Parametric noise injection (He, Rakin and Fan, CVPR 2019): weight noise of learned strength."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from adv.defences.defence import Defence, replace_module
from adv.defences.weight_transforms import WeightLayer, add_transform, weight_layers
from adv.runtime.random_streams import RandomModule
from adv.suggestions import suggest


@dataclass(frozen=True)
class PNI(Defence):
    """Compute each forward pass with w + alpha * n, n ~ N(0, std(w)^2) for each element of w.

    The noise is on the weights, not the biases, of every convolution and linear layer, in training
    and in evaluation. std(w) is taken over the layer's whole weight and is a constant for the
    gradient; alpha is trained, without weight decay. All images of a batch share one draw, so
    expectation over transformation takes one forward pass for each draw (`Votes`).

    Alpha often falls to almost zero in training: then PNI is no defence. The metric `pni_alpha`,
    the mean over the layers of mean |alpha|, shows it.

    Args:
      alpha: the initial value, above 0.
      granularity: one alpha for each "layer", output "channel" or "element" of a weight.
      where: "all" layers, or the "inner" ones: neither the first nor the last.

    Raises:
      ValueError: a setting is unknown or out of its range; on a call: the net has no such layer.
    """

    alpha: float = 0.25
    granularity: Literal["layer", "channel", "element"] = "layer"
    where: Literal["all", "inner"] = "all"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ValueError(f"alpha starts above 0, got {self.alpha}")
        if self.granularity not in ("layer", "channel", "element"):
            near = suggest(str(self.granularity), ("layer", "channel", "element"))
            raise ValueError(
                f"granularity is layer, channel or element, got {self.granularity!r}{near}"
            )
        if self.where not in ("all", "inner"):
            raise ValueError(f"where is all or inner, got {self.where!r}")

    def __call__(self, net: nn.Module) -> nn.Module:
        layers = [*weight_layers(net, "PNI").items()]
        chosen = layers if self.where == "all" else layers[1:-1]
        if not chosen:
            raise ValueError("PNI inside a net needs three layers or more: the net has none inside")
        for name, layer in chosen:
            noisy = add_transform(layer, WeightNoise(self._initial_alpha(layer)), name)
            net = replace_module(net, layer, noisy)
        return net

    def figures(self, net: nn.Module) -> dict[str, float]:
        alphas = [m.alpha.detach() for m in net.modules() if isinstance(m, WeightNoise)]
        return {"pni_alpha": float(torch.stack([alpha.abs().mean() for alpha in alphas]).mean())}

    def _initial_alpha(self, layer: WeightLayer) -> Tensor:
        weight = layer.weight
        shape = {
            "layer": (1,),
            "channel": (len(weight), *(1,) * (weight.dim() - 1)),
            "element": tuple(weight.shape),
        }[self.granularity]
        return torch.full(shape, self.alpha, device=weight.device)


class WeightNoise(RandomModule):
    """Adds alpha * N(0, std(w)^2) to a weight."""

    undecayed = ("alpha",)

    def __init__(self, alpha: Tensor) -> None:
        super().__init__()
        self.alpha = nn.Parameter(alpha)

    def forward(self, weight: Tensor) -> Tensor:
        fixed = weight.detach()
        noise = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)
        noise.normal_(generator=self.stream.on(weight.device))
        # The deviation stays on the device: reading its value would make a GPU wait at each layer.
        deviation = fixed.std(correction=min(1, fixed.numel() - 1))
        return weight + self.alpha * noise.mul_(deviation)

    def extra_repr(self) -> str:
        return f"alpha of shape {tuple(self.alpha.shape)}"
