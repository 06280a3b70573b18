"""The base class of defences: a value that turns a net into a defended one."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from adv.external.foreign_net import PixelInput
from adv.models import Normalize


class Defence(ABC):
    """The settings of a defence. Called with a net, it changes the net in place and returns it.

    Defences compose in any order. If several put a layer before the net (the first noise of RSE,
    test noise, a projection), an image passes through that of the first applied defence first.
    """

    @abstractmethod
    def __call__(self, net: nn.Module) -> nn.Module:
        """Return the defended net: the same object, unless the net is a single layer."""

    def figures(self, net: nn.Module) -> dict[str, float]:
        """Return metrics of a net with this defence; training logs them after each epoch."""
        return {}


def input_layer_name(net: nn.Module, needed_by: str) -> str:
    """Return the name of the layer that images in [0, 1] enter first.

    It is the normalisation if there is one, or the entry of a net of another project, else the
    first convolution.

    Raises:
      ValueError: the net has neither; `needed_by` names what needs one.
    """
    for kind in (Normalize, PixelInput, nn.Conv2d):
        for name, module in net.named_modules():
            if isinstance(module, kind):
                return name
    raise ValueError(f"{needed_by} needs a net with a convolution")


def insert_before(net: nn.Module, name: str, layer: nn.Module) -> None:
    """Insert `layer` before the layer of that name."""
    net.set_submodule(name, nn.Sequential(layer, net.get_submodule(name)))


def replace_module(net: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """Register `new` at every place in `net` where `old` is registered.

    Returns:
      The net; `new`, if the net is `old` itself.
    """
    if net is old:
        return new
    every = net.named_modules(remove_duplicate=False)
    for name in [name for name, module in every if module is old]:
        net.set_submodule(name, new)
    return net
