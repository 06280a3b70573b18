"""How strong should the training attack be, and how much of each batch should it attack?

    python launch.py --space tradeoff

The second demonstration. On digits the answer is that an attack of about .15 costs hardly any
accuracy; `docs/search.md` has what other nets, radii and attacks gave. BaseNet is trained for
thirty epochs, because after six it is not yet accurate; the space sets this on every scale. Noise
has a space of its own, `rse_sigmas`.
"""

from __future__ import annotations

import adv
from adv import Ramp
from spaces import Baseline, Choice, Space


def build(fraction: float, eps: float = 0.1) -> adv.Recipe:
    """Return BaseNet with the report's curriculum up to another radius."""
    curriculum = adv.Curriculum(eps=Ramp(0.01, eps), fraction=fraction)
    return adv.Recipe(net=adv.BaseNet(), curriculum=curriculum)


_FRACTIONS = (0.0, 0.1, 0.25, 0.5, 1.0)
_NONE = {"fraction": 0.0}

space = Space(
    question="How strong should the training attack be, and how much of each batch attacked?",
    knobs={
        "fraction": Choice(_FRACTIONS),
        "eps": Choice((0.05, 0.1, 0.15, 0.2, 0.3), when={"fraction": _FRACTIONS[1:]}),
    },
    build=build,
    known=({"fraction": 0.5, "eps": 0.1}, _NONE),
    scale={"epochs": 30},
    baseline=Baseline("no attack", _NONE),
)
