"""Does augmentation make a small net more robust, and which of its three kinds?

    python launch.py --space augmentation

The report's table 1 found BigNet best with the horizontal flip alone (169 against 136 without and
159 with crop and jitter too). Its three settings come first. On digits a flip changes the class, so
the laptop scale answers for crop and jitter only.
"""

from __future__ import annotations

import adv
from spaces import Float, Int, Space


def build(flip: float, crop: int, jitter: float) -> adv.Recipe:
    """BigNet under the report's curriculum on augmented images."""
    return adv.Recipe(net=adv.BigNet(), augment=adv.Augment(flip=flip, crop=crop, jitter=jitter))


space = Space(
    question="Does augmentation make a small net more robust, and which kind?",
    knobs={"flip": Float(0.0, 0.5), "crop": Int(0, 6), "jitter": Float(0.0, 0.5)},
    build=build,
    known=(
        {"flip": 0.0, "crop": 0, "jitter": 0.0},
        {"flip": 0.5, "crop": 0, "jitter": 0.0},
        {"flip": 0.5, "crop": 4, "jitter": 0.2},
    ),
)
