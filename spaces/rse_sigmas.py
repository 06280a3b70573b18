"""How much noise should a random self-ensemble carry, and does it buy any robustness at all?

    python launch.py --space rse_sigmas

RSE (Liu et al. 2018) adds Gaussian noise before every convolution: `sigma_init` before the first,
in pixel units, and `sigma_inner` before the others. BigNet is trained with the report's curriculum,
half of each batch attacked. Random nets are attacked through gradients averaged over several noise
samples and scored by votes, because otherwise any noise looks like robustness. The number of votes
belongs to the scale and is not searched: a net must not choose how it is scored. The published
setting, 0.2 and 0.1, and "no noise" come first. Many pairs lie within a point of each other, so
there are 24 final trainings.
"""

from __future__ import annotations

import adv
from spaces import Baseline, Float, Space


def build(sigma_init: float, sigma_inner: float) -> adv.Recipe:
    """Return BigNet with RSE and the report's curriculum."""
    return adv.Recipe(net=adv.BigNet(), defences=(adv.RSE(sigma_init, sigma_inner),))


space = Space(
    question="How much noise should a random self-ensemble carry, and does it buy robustness?",
    knobs={"sigma_init": Float(0.0, 0.4), "sigma_inner": Float(0.0, 0.3)},
    build=build,
    known=(
        {"sigma_init": 0.2, "sigma_inner": 0.1},
        {"sigma_init": 0.0, "sigma_inner": 0.0},
    ),
    scale={"final_trainings": 24},
    baseline=Baseline("no noise", {"sigma_init": 0.0, "sigma_inner": 0.0}),
)
