"""How strong should the training attack be, and how much of each batch should it attack?

    python launch.py --space tradeoff

The second demonstration, whose question has a trade-off. It is asked on `marked-digits`
(`adv/data/marked_digits.py`): a faint mark tells the class of every image, and a fifth of the
images show a digit of another class. A net that reads marks is nearly always right until somebody
changes a pixel by more than .05; one that reads digits is right on four fifths, and stands much
longer. Plain digits have no such choice (`docs/search.md`). BigNet is trained for 15 epochs. There
are 13 configurations, and the search tries them all: with finer steps, neighbours on the front
would differ by less than a search of minutes can tell. Eighteen final trainings, on 300 test
images, have room for nine nets. The space sets all this on every scale; `--data` names other
images. Noise has a space of its own, `rse_sigmas`.
"""

from __future__ import annotations

import adv
from adv import Ramp
from spaces import Baseline, Choice, Space


def build(fraction: float, eps: float = 0.1) -> adv.Recipe:
    """Return BigNet with the report's curriculum up to another radius."""
    curriculum = adv.Curriculum(eps=Ramp(0.01, eps), fraction=fraction)
    return adv.Recipe(net=adv.BigNet(), curriculum=curriculum)


_FRACTIONS = (0.0, 0.25, 0.5, 1.0)
_NONE = {"fraction": 0.0}

space = Space(
    question="How strong should the training attack be, and how much of each batch attacked?",
    knobs={
        "fraction": Choice(_FRACTIONS),
        "eps": Choice((0.05, 0.1, 0.2, 0.3), when={"fraction": _FRACTIONS[1:]}),
    },
    build=build,
    known=({"fraction": 0.5, "eps": 0.1}, _NONE),
    scale={
        "data": "marked-digits",
        "trials": 13,
        "epochs": 15,
        "final_trainings": 18,
        "test_images": 300,
    },
    baseline=Baseline("no attack", _NONE),
)
