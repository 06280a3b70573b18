"""How should noise on the weights be set, and does any of it survive its own training?

    python launch.py --space pni

PNI (He et al. 2019) adds noise to the weights of BigNet's layers, scaled by a learned alpha.
`noise=False` is the plain net; `alpha` is its initial value, `granularity` says how many alphas
there are, and `where` "inner" leaves out the first and the last layer. Each image is seen clean and
attacked, as published, with weight `clean_weight` on the clean loss; the attack is the report's
curriculum. The published setting (0.25, layer, all, 0.5) comes first, then the plain net. Two parts
of the published training are left out: its first five epochs without an attack, where this
curriculum begins with a small radius, and its attack on the labels that the net predicts.

Alpha often falls to almost zero within a few epochs, and then PNI is no defence; each epoch logs
`pni_alpha`. A search takes a few minutes on two cores at the laptop scale.
"""

from __future__ import annotations

from typing import Any

import adv
from spaces import Choice, Float, Space


def build(noise: bool, clean_weight: float, **settings: Any) -> adv.Recipe:
    """Return BigNet with or without PNI; `settings` are those of PNI."""
    return adv.Recipe(
        net=adv.BigNet(),
        defences=(adv.PNI(**settings),) if noise else (),
        objective=adv.Paired(clean_weight),
    )


_NOISE = {"noise": True}

space = Space(
    question="How should noise on the weights be set, and does any survive its own training?",
    knobs={
        "noise": Choice((True, False)),
        "alpha": Float(0.02, 1.0, log=True, when=_NOISE),
        "granularity": Choice(("layer", "channel", "element"), when=_NOISE),
        "where": Choice(("all", "inner"), when=_NOISE),
        "clean_weight": Float(0.25, 0.75),
    },
    build=build,
    known=(
        {
            "noise": True,
            "alpha": 0.25,
            "granularity": "layer",
            "where": "all",
            "clean_weight": 0.5,
        },
        {"noise": False, "clean_weight": 0.5},
    ),
)
