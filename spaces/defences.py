"""Which random defence, and how much of it, if any?

    python launch.py --space defences

BigNet with the report's curriculum, plain or with one of four random defences: RSE (noise before
each convolution), PNI (learned noise on the weights), dropout that stays on at test time, and noise
on the images at test time (with `noise_in_training` in training too). The plain net and the
published settings come first. Random nets are attacked through gradients averaged over several
noise samples and scored by votes; otherwise each of them would look more robust than it is. A
search takes about three minutes on two cores at the laptop scale.
"""

from __future__ import annotations

from typing import Any

import adv
from spaces import Choice, Float, Space


def build(defence: str, **settings: Any) -> adv.Recipe:
    """Return BigNet with at most one random defence; `settings` are those of the defence."""
    defences: tuple[adv.Defence, ...] = ()
    if defence == "rse":
        defences = (adv.RSE(**settings),)
    elif defence == "pni":
        defences = (adv.PNI(**settings),)
    elif defence == "dropout":
        defences = (adv.MCDropout(settings["dropout_kept"]),)
    elif defence == "noise":
        defences = (adv.TestNoise(settings["noise"], settings["noise_in_training"]),)
    return adv.Recipe(net=adv.BigNet(), defences=defences)


_RSE, _PNI, _NOISE = {"defence": "rse"}, {"defence": "pni"}, {"defence": "noise"}

space = Space(
    question="Which random defence, and how much of it, if any?",
    knobs={
        "defence": Choice(("none", "rse", "pni", "dropout", "noise")),
        "sigma_init": Float(0.0, 0.4, when=_RSE),
        "sigma_inner": Float(0.0, 0.3, when=_RSE),
        "alpha": Float(0.02, 1.0, log=True, when=_PNI),
        "granularity": Choice(("layer", "channel", "element"), when=_PNI),
        "where": Choice(("all", "inner"), when=_PNI),
        "dropout_kept": Float(0.05, 0.5, when={"defence": "dropout"}),
        "noise": Float(0.01, 0.25, when=_NOISE),
        "noise_in_training": Choice((False, True), when=_NOISE),
    },
    build=build,
    known=(
        {"defence": "none"},
        {"defence": "rse", "sigma_init": 0.2, "sigma_inner": 0.1},
        {"defence": "pni", "alpha": 0.25, "granularity": "layer", "where": "all"},
        {"defence": "dropout", "dropout_kept": 0.3},
        {"defence": "noise", "noise": 0.25, "noise_in_training": True},
    ),
)
