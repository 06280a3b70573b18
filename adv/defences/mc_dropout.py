"""Monte Carlo dropout (Gal and Ghahramani, ICML 2016): dropout that stays on in evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from adv.defences.defence import Defence
from adv.runtime.random_layers import Dropout


@dataclass(frozen=True)
class MCDropout(Defence):
    """Keep the net's dropout layers on in evaluation, as they are in training.

    Args:
      p: dropout probability of each dropout layer, in (0, 1); None keeps the net's own.

    Raises:
      ValueError: p is out of range; on a call: the net has no dropout layer, or drops nothing.
    """

    p: float | None = None

    def __post_init__(self) -> None:
        if self.p is not None and not 0 < self.p < 1:
            raise ValueError(f"dropout kept on has a probability in (0, 1), got {self.p}")

    def __call__(self, net: nn.Module) -> nn.Module:
        for name, module in [*net.named_modules()]:
            if isinstance(module, nn.Dropout):  # torch's own draws from the global generator
                net.set_submodule(name, Dropout(module.p))
        layers = [module for module in net.modules() if isinstance(module, Dropout)]
        if not layers:
            raise ValueError("MCDropout needs a net with dropout layers")
        for layer in layers:
            layer.p = layer.p if self.p is None else self.p
            layer.stochastic = layer.p > 0
        if not any(layer.stochastic for layer in layers):
            raise ValueError("MCDropout: the net's dropout is 0; give it one, or MCDropout(p)")
        return net
