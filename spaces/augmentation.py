"""Does augmentation make a small net more robust, and which kind?

    python launch.py --space augmentation

BigNet with the report's curriculum. In table 1 of the report, horizontal flips alone are best (169,
against 136 without augmentation and 159 with crop and jitter too); its three settings come first.
The space adds cutout, random erasing, CutMix, label smoothing and IDBH (Li and Spratling 2023),
which combines flip, crop, one change of colour or shape, and erasing, so that those
hyperparameters do not exist beside it. More variety may be too much for a net of this size.

On digits a flip changes the class, so the laptop scale is informative for the other kinds only. A
search takes about three minutes on two cores there.
"""

from __future__ import annotations

from typing import Any

import adv
from spaces import Choice, Float, Int, Prior, Space


def build(smoothing: float, **settings: Any) -> adv.Recipe:
    """Return BigNet with the report's curriculum; `settings` are those of `Augment`."""
    return adv.Recipe(net=adv.BigNet(), augment=adv.Augment(**settings), smoothing=smoothing)


_OWN = {"idbh": "off"}
_REST: dict[str, Any] = {"cutout": 0, "cutmix": 0.0, "smoothing": 0.0}
_NONE: dict[str, Any] = {**_OWN, "flip": 0.0, "crop": 0, "jitter": 0.0, "erasing": 0.0, **_REST}

space = Space(
    question="Does augmentation make a small net more robust, and which kind?",
    knobs={
        "idbh": Choice(("off", "weak", "strong")),
        "flip": Float(0.0, 0.5, when=_OWN),
        "crop": Int(0, 6, when=_OWN),
        "jitter": Float(0.0, 0.5, when=_OWN),
        "erasing": Float(0.0, 1.0, when=_OWN),
        "cutout": Int(0, 16),
        "cutmix": Float(0.0, 1.0),
        # Pang et al. 2021: .1 and .2 help a little, .3 and more hurt.
        "smoothing": Float(0.0, 0.3, prior=Prior(0.1, 0.1)),
    },
    build=build,
    known=(
        _NONE,
        {**_NONE, "flip": 0.5},
        {**_NONE, "flip": 0.5, "crop": 4, "jitter": 0.2},
        {"idbh": "weak", **_REST},
    ),
)
