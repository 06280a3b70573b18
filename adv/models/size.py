"""How large a net is, and what one image costs: counted on shapes alone, without any weights."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch.utils.flop_counter import FlopCounterMode

from adv.models import WRN, BaseNet, BigNet, Net, ResNet18, ViT

SHOWN: tuple[Net, ...] = (
    BaseNet(),
    *(BigNet(width) for width in (1, 2, 4)),
    *(WRN(16, 4), WRN(16, 8), WRN(16, 10), WRN(28, 10), WRN(34, 10)),
    ResNet18(),
    *(ViT(2, 128, 2), ViT(4, 128, 2), ViT(6, 256, 2), ViT(6, 256), ViT(7, 256)),
)


@dataclass(frozen=True)
class Size:
    """Parameters of a net, and the multiply-adds of its forward pass for one image.

    Convolutions, linear layers and attention are counted; normalisation, activations and pooling
    are not. A training step costs about three forward passes, a step of an attack two.
    """

    parameters: int
    multiply_adds: int


def size_of(net: Net, classes: int = 10) -> Size:
    """The size of a net for images of 3x32x32; takes milliseconds, however large the net."""
    with torch.device("meta"):
        made = net(classes).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            made(torch.empty(1, 3, 32, 32))
    parameters = sum(weight.numel() for weight in made.parameters())
    return Size(parameters, counter.get_total_flops() // 2)


def name_of(net: Net) -> str:
    """The net as one would write it, without the settings that are the same for every net."""
    common = ("activation", "dropout", "se")
    shown = (f.name for f in fields(net) if f.name not in common)  # type: ignore[arg-type]
    return f"{type(net).__name__}({', '.join(f'{n}={getattr(net, n)}' for n in shown)})"
