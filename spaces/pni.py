"""How should noise on the weights be set, and does any of it survive its own training?

    python launch.py --space pni

PNI (He et al. 2019) adds noise to the weights of BigNet's layers and learns how much of it to keep,
as alpha. `noise=False` is the plain net; `alpha` is where alpha starts, `granularity` how many
there are, `where` "inner" leaves out the first and the last layer. Each image is seen clean and
attacked, as published, with weight `clean_weight` on the first; the attack is the report's
curriculum. Published: 0.25, a layer, all, 0.5; that comes first, then the plain net. Two things of
the published training are no knobs here: it leaves the first five epochs unattacked, where this
curriculum begins at a small radius, and it attacks the labels that the net itself gives.

Alpha often falls to nearly nothing within a few epochs, and then PNI is no defence. Each epoch logs
`pni_alpha`. The laptop scale takes a few minutes on two cores.
"""

from __future__ import annotations

from typing import Any

import adv
from spaces import Choice, Float, Space


def build(noise: bool, clean_weight: float, **settings: Any) -> adv.Recipe:
    """BigNet-PNI, or BigNet, under the report's curriculum; `settings` are PNI's own."""
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
