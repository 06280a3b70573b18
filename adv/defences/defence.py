"""What a defence is: a value that turns a net into a defended one."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from adv.models import Normalize


class Defence(ABC):
    """Settings of a defence. Called with a net, it changes it in place and returns it.

    Defences compose in any order. Of several that stand before the net (RSE's first noise, test
    noise, a projection) the image meets the one that was applied first, first.
    """

    @abstractmethod
    def __call__(self, net: nn.Module) -> nn.Module:
        """The defended net."""

    def figures(self, net: nn.Module) -> dict[str, float]:
        """What this defence tells of a net that it defends; training logs it after each epoch."""
        return {}


def entrance(net: nn.Module, wants: str) -> str:
    """The name of the layer that images in [0, 1] meet first: the normalisation if there is one.

    Raises:
      ValueError: the net has neither a normalisation nor a convolution; `wants` asks for one.
    """
    for kind in (Normalize, nn.Conv2d):
        for name, module in net.named_modules():
            if isinstance(module, kind):
                return name
    raise ValueError(f"{wants} needs a net with a convolution")


def put_before(net: nn.Module, name: str, layer: nn.Module) -> None:
    """Let what reaches the layer of that name pass through `layer` first."""
    net.set_submodule(name, nn.Sequential(layer, net.get_submodule(name)))
