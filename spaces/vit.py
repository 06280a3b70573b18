"""How should the attack, the weight decay and the gradient be held back to train a robust ViT?

    python launch.py --space vit

A compact ViT under a constant attack at 8/255, whose radius warms up from zero over the first
epochs. Debenedetti et al. 2023 (arXiv 2209.07399) find that for ViTs this warm-up and a larger
weight decay matter, which for convolutional nets they do not (Pang et al. 2021), and published
recipes clip the gradient. The first configuration has the three as published for ViTs, the second
has none of them. Heavy augmentation is reported to hurt robust ViTs, so it stays at flips and
crops. On the laptop scale the net has one or two blocks of 64 and is trained on few images: such a
search shows how the method works.
"""

from __future__ import annotations

import adv
from spaces import Choice, Float, Int, Space, Value

_EPS = 8 / 255


def build(
    depth: int,
    dim: int,
    convolutions: int,
    lr: float,
    weight_decay: float,
    warm_up: float,
    clip: float,
) -> adv.Recipe:
    """Return a ViT; the radius rises for `warm_up`, a share of the epochs; `clip` is 0 for none."""
    radius = adv.Ramp(0.0, _EPS, until=warm_up) if warm_up > 0 else _EPS
    return adv.Recipe(
        net=adv.ViT(depth, dim, convolutions),
        optimizer=adv.AdamW(lr, weight_decay, decay=adv.OneCycle(0.1)),
        curriculum=adv.Curriculum(radius, 7, fraction=1.0),
        clip=clip or None,
    )


_NET: dict[str, Value] = {"depth": 6, "dim": 256, "convolutions": 2}

space = Space(
    question="How should attack, weight decay and gradient be held back to train a robust ViT?",
    knobs={
        "depth": Int(2, 7),
        "dim": Choice((64, 128, 256, 384)),
        "convolutions": Int(1, 3),
        "lr": Float(1e-4, 3e-3, log=True),
        "weight_decay": Float(1e-3, 1.0, log=True),
        "warm_up": Float(0.0, 0.5),
        "clip": Choice((0.0, 0.3, 1.0, 3.0)),
    },
    laptop={"depth": Int(1, 2), "dim": Choice((64,)), "convolutions": Int(2, 3)},
    build=build,
    known=(
        {**_NET, "lr": 5e-4, "weight_decay": 0.5, "warm_up": 0.1, "clip": 1.0},
        {**_NET, "lr": 5e-4, "weight_decay": 0.01, "warm_up": 0.0, "clip": 0.0},
    ),
)
