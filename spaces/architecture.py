"""Which net, how large, with which activation and how much dropout?

    python launch.py --space architecture

The report's nets and the net of the published tables, all with the report's curriculum and
optimiser, so that they differ in the net alone: BaseNet, BigNet, WRN-16-10 and ResNet-18 come
first, then a ViT with the report's two numbers, depth and dim. The other hyperparameters are
conditional: each exists only for its own net. Large nets may be undertrained this way, as the
report says of its own; `everything` varies both.

An image costs BaseNet 0.7 million multiply-adds and WRN-28-10 5,243 million (`python -m adv
models`), so the laptop scale leaves out ResNet-18 and has small WRN and ViT only. A trial takes 15
seconds (BigNet) to two minutes (WRN-16-2) of one core there. Such a search shows how the method
works, not which large net is best.
"""

from __future__ import annotations

from typing import Any

import adv
from spaces import Choice, Float, Int, Space


def build(model: str, activation: str, dropout: float, **size: Any) -> adv.Recipe:
    """Return a net with the report's curriculum; `size` are the hyperparameters of its kind."""
    common: dict[str, Any] = {"activation": activation, "dropout": dropout}
    net: adv.Net
    if model == "bignet":
        net = adv.BigNet(size["width"], **common)
    elif model == "wrn":
        net = adv.WRN(size["wrn_depth"], size["wrn_width"], se=size["se"], **common)
    elif model == "vit":
        net = adv.ViT(size["vit_depth"], size["vit_dim"], size["vit_convolutions"], **common)
    elif model == "resnet18":
        net = adv.ResNet18(**common)
    else:
        net = adv.BaseNet(**common)
    return adv.Recipe(net=net)


_WRN, _VIT = {"model": "wrn"}, {"model": "vit"}
_GELU: dict[str, Any] = {"activation": "gelu", "dropout": 0.0}

space = Space(
    question="Which net, how large, with which activation and how much dropout?",
    knobs={
        "model": Choice(("basenet", "bignet", "wrn", "resnet18", "vit")),
        "width": Int(1, 8, when={"model": "bignet"}),
        "wrn_depth": Choice((10, 16, 22, 28), when=_WRN),
        "wrn_width": Int(1, 10, when=_WRN),
        "se": Choice((0.0, 0.25), when=_WRN),
        "vit_depth": Int(2, 7, when=_VIT),
        "vit_dim": Choice((128, 192, 256, 320, 384), when=_VIT),
        "vit_convolutions": Int(1, 2, when=_VIT),
        "activation": Choice(("relu", "gelu", "silu")),
        "dropout": Float(0.0, 0.5),
    },
    laptop={
        "model": Choice(("basenet", "bignet", "wrn", "vit")),
        "width": Int(1, 4),
        "wrn_depth": Choice((10, 16)),
        "wrn_width": Int(1, 2),
        "vit_depth": Int(1, 3),
        "vit_dim": Choice((64, 128)),
        "vit_convolutions": Int(2, 3),
    },
    build=build,
    known=(
        {"model": "bignet", "width": 1, **_GELU},
        {"model": "basenet", "activation": "relu", "dropout": 0.0},
        {"model": "wrn", "wrn_depth": 16, "wrn_width": 10, "se": 0.0, **_GELU},
        {"model": "resnet18", "activation": "relu", "dropout": 0.0},
        {"model": "vit", "vit_depth": 6, "vit_dim": 256, "vit_convolutions": 2, **_GELU},
    ),
)
