"""The size of a net and the cost of one image, counted on shapes alone, without any weights."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from adv.models import WRN, BaseNet, BigNet, Net, ResNet18, ViT
from adv.models.net import make_net
from adv.shape import DEFAULT_SHAPE, Shape

LISTED_NETS: tuple[Net, ...] = (
    BaseNet(),
    *(BigNet(width) for width in (1, 2, 4)),
    *(WRN(16, 4), WRN(16, 8), WRN(16, 10), WRN(28, 10), WRN(34, 10)),
    ResNet18(),
    *(ViT(2, 128, 2), ViT(4, 128, 2), ViT(6, 256, 2), ViT(6, 256), ViT(7, 256)),
)
"""The nets that `python -m adv models` lists."""

_COMMON_SETTINGS = ("activation", "dropout", "se")


@dataclass(frozen=True)
class Size:
    """The parameters of a net, and the multiply-adds of its forward pass for one image.

    Convolutions, linear layers and attention are counted; normalisation, activations and pooling
    are not. A training step costs about three forward passes, an attack step two.
    """

    parameters: int
    multiply_adds: int


def size_of(net: Net, classes: int = 10, shape: Shape = DEFAULT_SHAPE) -> Size:
    """Return the size of a net for images of a shape; takes milliseconds for any of our nets.

    A net of another project is made for it, once for each class count and shape.

    Raises:
      ValueError: the net cannot be made for such images.
    """
    if getattr(net, "runs_code", False):  # the settings may be a function
        return _measure_foreign(net, classes, shape)
    with torch.device("meta"):
        return _measure(net, classes, shape)


@lru_cache(maxsize=100)
def _measure_foreign(net: Net, classes: int, shape: Shape) -> Size:
    with torch.random.fork_rng(devices=[]):
        return _measure(net, classes, shape)


def _measure(net: Net, classes: int, shape: Shape) -> Size:
    module = make_net(net, classes, shape).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.empty(1, *shape))
    parameters = sum(weight.numel() for weight in module.parameters())
    return Size(parameters, counter.get_total_flops() // 2)


def format_net(net: Net) -> str:
    """Return the net as code, without the settings that every net has, such as the activation."""
    every = fields(net)  # type: ignore[arg-type]  # every net is a dataclass
    names = [field.name for field in every if field.name not in _COMMON_SETTINGS]
    return f"{type(net).__name__}({', '.join(f'{name}={getattr(net, name)}' for name in names)})"
