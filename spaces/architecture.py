"""Which net, how wide, with which activation and how much dropout?

    python launch.py --space architecture

The report's nets under its curriculum: BaseNet (62,006 parameters) and BigNet (244,962 at width 1),
whose width multiplies every hidden dimension. The report's two settings come first.
"""

from __future__ import annotations

import adv
from spaces import Choice, Float, Int, Space


def build(model: str, activation: str, dropout: float, width: int = 1) -> adv.Recipe:
    """BaseNet or BigNet under the report's curriculum."""
    if model == "basenet":
        net: adv.Net = adv.BaseNet(activation, dropout)
    else:
        net = adv.BigNet(width, activation, dropout)
    return adv.Recipe(net=net)


space = Space(
    question="Which net, how wide, with which activation and how much dropout?",
    knobs={
        "model": Choice(("basenet", "bignet")),
        "width": Int(1, 4, when={"model": "bignet"}),
        "activation": Choice(("relu", "gelu")),
        "dropout": Float(0.0, 0.5),
    },
    build=build,
    known=(
        {"model": "bignet", "width": 1, "activation": "gelu", "dropout": 0.0},
        {"model": "basenet", "activation": "relu", "dropout": 0.0},
    ),
)
