"""Does everything work? A whole search in seconds; its numbers mean nothing.

    python launch.py --space smoke

BaseNet with a little noise on a few hundred digits, two epochs, and a battery of single-step PGD.
"""

from __future__ import annotations

import adv
from spaces import Float, Space


def build(sigma: float, lr: float) -> adv.Recipe:
    """Return BaseNet with noise before each convolution."""
    return adv.Recipe(
        net=adv.BaseNet(), defences=(adv.RSE(sigma, sigma),), optimizer=adv.AdamW(lr=lr)
    )


space = Space(
    question="Does everything work? A whole search in seconds; its numbers mean nothing.",
    knobs={"sigma": Float(0.0, 0.2), "lr": Float(3e-4, 1e-2, log=True)},
    build=build,
    known=({"sigma": 0.0, "lr": 3e-3},),
    scale={
        "trials": 4,
        "epochs": 2,
        "train_images": 256,
        "images": 60,
        "watch_images": 20,
        "train_steps": 1,
        "watch_steps": 1,
        "battery_steps": 1,
        "draws": 5,
        "votes": 5,
        "test_images": 30,
        "strong_steps": 2,
        "strong_queries": 10,
    },
)
