"""Random nets with augmentation: all that draws random numbers in a training.

`fault_kinds.exact_resume` copies this file into the `spaces/` of a copy of the program.
"""

from __future__ import annotations

import adv
from spaces import Float, Space, load


def build(sigma: float) -> adv.Recipe:
    """Return a net with noise and dropout, trained on augmented images."""
    return adv.Recipe(
        net=adv.BaseNet(dropout=0.1),
        defences=(adv.RSE(sigma, sigma),),
        optimizer=adv.AdamW(lr=3e-3),
        augment=adv.Augment(crop=2, cutout=4),
        ema=0.9,
    )


space = Space(
    question="Does a killed search give the same values?",
    knobs={"sigma": Float(0.01, 0.2)},
    build=build,
    scale=dict(load("smoke").scale),
)
