"""How should a trained net be fine-tuned to become robust, and at what cost in accuracy?

    python launch.py --space finetune --init weights.safetensors

Training goes on from given weights, of a natural net or of a robust one: `--init` names them, and
`--net` the net that they belong to, BigNet unless it is given. Searched are the learning rate,
which falls to a hundredth over the training, the weight decay, the length of the training, the
share of each batch that is attacked at 8/255, and how many layers, counted from the input, keep
their weights. `epochs` are those of the full scale; others take them in proportion to their own.

The first known point is a short training at a low rate, as adversarial fine-tuning is published
(Jeddi et al. 2020, arXiv:2012.13628); the second is training at the usual rate, as from scratch.
"""

from __future__ import annotations

import adv
from spaces import Choice, Float, Int, Space


def build(
    lr: float, weight_decay: float, epochs: int, fraction: float, frozen_layers: float
) -> adv.Recipe:
    """Return adversarial training that goes on from the weights of `--init`."""
    return adv.Recipe(
        optimizer=adv.AdamW(lr=lr, weight_decay=weight_decay, decay=adv.Ramp(1.0, 0.01)),
        curriculum=adv.Curriculum(eps=8 / 255, steps=10, fraction=fraction),
        epochs=epochs,
        frozen_layers=frozen_layers,
    )


space = Space(
    question="How should a trained net be fine-tuned to become robust, and what does it cost?",
    knobs={
        "lr": Float(1e-5, 1e-2, log=True),
        "weight_decay": Float(1e-5, 1e-1, log=True),
        "epochs": Int(10, 60),
        "fraction": Float(0.25, 1.0),
        "frozen_layers": Choice((0.0, 0.25, 0.5, 0.75)),
    },
    build=build,
    known=(
        {
            "lr": 1e-4,
            "weight_decay": 1e-2,
            "epochs": 10,
            "fraction": 1.0,
            "frozen_layers": 0.0,
        },
        {
            "lr": 1e-3,
            "weight_decay": 1e-2,
            "epochs": 60,
            "fraction": 0.5,
            "frozen_layers": 0.0,
        },
    ),
    from_weights=True,
)
