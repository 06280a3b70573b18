"""Devices: the one that a net is on, the best one available, and the move to it."""

from __future__ import annotations

import torch
from torch import nn

from adv.runtime.foreign_nets import is_ours


def default_device() -> torch.device:
    """Return the first GPU that this process may use, or the CPU if there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(net: nn.Module) -> torch.device:
    """Return the device of a net's first parameter; the CPU for a net without parameters."""
    return next((weight.device for weight in net.parameters()), torch.device("cpu"))


def on_device(net: nn.Module) -> nn.Module:
    """Move a net to the default device, in the memory layout in which convolutions run fastest.

    Returns:
      The same net, with its tensors in `channels_last`; one that is not ours keeps its own.
    """
    net = net.to(default_device())
    return net.to(memory_format=torch.channels_last) if is_ours(net) else net
