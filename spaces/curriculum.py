"""How should the training attack grow, and may it be cheap?

    python launch.py --space curriculum

BigNet, trained with an attack whose radius is constant, rises over the epochs (linearly or along a
cosine) or warms up from zero over the first epochs. The attack is PGD with a rising number of
steps, one of two single-step attacks (FGSM with a random start, Wong et al. 2020; N-FGSM, de Jorge
et al. 2022), or curriculum adversarial training as published (`cat`, Cai et al. 2018), whose
lessons are numbers of steps. The report's curriculum comes first, then the constant 8/255 of the
published tables, CAT and N-FGSM. Single-step training may overfit catastrophically: the log reports
it, and the battery measures it.

The full scale does not limit the steps: the report's setting costs 28 forward passes an image,
N-FGSM 5. On the laptop scale PGD has 2 to 8 steps; a search takes about five minutes on two cores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import adv
from spaces import Choice, Float, Int, Prior, Space

if TYPE_CHECKING:
    from adv.training.schedules import Schedule

Attack = Literal["pgd", "fgsm-rs", "n-fgsm", "cat"]


def build(attack: Attack, eps: float, fraction: float = 1.0, **settings: Any) -> adv.Recipe:
    """Return BigNet with a curriculum; `settings` belong to its attack and shape."""
    if attack == "cat":
        lessons = adv.CAT(eps, most=settings["cat_most"], patience=settings["cat_patience"])
        return adv.Recipe(net=adv.BigNet(), curriculum=lessons)
    shape, steps = settings["shape"], settings.get("steps", 1)
    radius: Schedule = eps
    count: Schedule = steps
    if shape == "warm-up":
        radius = adv.Ramp(0.0, eps, until=settings["warm_up"])
    elif shape != "constant":
        radius = adv.Ramp(settings["eps_start"], eps, shape)
        count = adv.Ramp(settings.get("steps_start", 1), steps, shape)
    return adv.Recipe(
        net=adv.BigNet(),
        curriculum=adv.Curriculum(
            radius, count, pace=settings.get("pace"), fraction=fraction, kind=attack
        ),
    )


_RISING = ("linear", "cosine")
_CAT = {"attack": "cat"}
_RISE: dict[str, Any] = {"attack": "pgd", "shape": "linear", "eps_start": 0.01, "eps": 0.1}
_FLAT: dict[str, Any] = {"shape": "constant", "eps": 8 / 255, "fraction": 1.0}

space = Space(
    question="How should the training attack grow, and may it be cheap?",
    knobs={
        "attack": Choice(("pgd", "fgsm-rs", "n-fgsm", "cat")),
        # Published trainings take 8/255; scored at radii up to .1, more may be better (the report).
        "eps": Float(0.02, 0.1, prior=Prior(8 / 255, 0.03)),
        "shape": Choice(
            ("constant", *_RISING, "warm-up"), when={"attack": ("pgd", "fgsm-rs", "n-fgsm")}
        ),
        "eps_start": Float(0.0, 0.03, when={"shape": _RISING}),
        "warm_up": Float(0.1, 0.5, when={"shape": "warm-up"}),
        "steps": Int(5, 40, when={"attack": "pgd"}),
        "steps_start": Int(1, 10, when={"attack": "pgd", "shape": _RISING}),
        "pace": Float(0.1, 1.0, when={"attack": "pgd"}),
        "fraction": Float(0.25, 1.0, when={"attack": ("pgd", "fgsm-rs", "n-fgsm")}),
        "cat_most": Int(1, 10, when=_CAT),
        "cat_patience": Int(1, 10, when=_CAT),
    },
    laptop={
        "steps": Int(2, 8),
        "steps_start": Int(1, 4),
        "cat_most": Int(1, 4),
        "cat_patience": Int(1, 3),  # of 6 epochs
    },
    build=build,
    known=(
        {**_RISE, "steps_start": 10, "steps": 40, "pace": 0.25, "fraction": 0.5},
        {**_FLAT, "attack": "pgd", "steps": 10, "pace": 0.25},
        {"attack": "cat", "eps": 0.032, "cat_most": 7, "cat_patience": 10},
        {**_FLAT, "attack": "n-fgsm"},
    ),
    scale={"train_steps": None},
)
