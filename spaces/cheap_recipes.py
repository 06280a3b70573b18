"""Which recipe of adversarial training is worth most per second?

    python launch.py --space cheap_recipes

PGD at 8/255 and recipes that take one step: N-FGSM (de Jorge et al. 2022), FGSM-PGI (Jia et al.
2022), LIET (ICCV 2025), NuAT and GAT (Sriramanan et al. 2021, 2020) and gradient alignment
(Andriushchenko and Flammarion 2020). The second term of the last five has its published weight
times `strength`. The radius may rise from 0, labels may be smoothed and weights averaged. In
published tables of ResNet-18 with both, PGD-10 leads under AutoAttack by half a point, and NuAT and
LIET take 40 % of its time; NuAT loses its lead with 100 classes and more.

The published settings come first, PGD-10 before the others. Every trial is trained for as many
epochs: `trials.csv` has the seconds that each of them took, and the sampler `kriging` weighs what a
trial promises against them. A trial that overfits catastrophically is reported in the log.
"""

from __future__ import annotations

from typing import Any

import adv
from spaces import Choice, Float, Int, Space

EPS = 8 / 255
AVERAGES = {"none": 0.0, "0.995": 0.995, "0.9995": 0.9995}
_WITH_TERM = ("fgsm-pgi", "liet", "nuat", "gat", "grad-align")


def build(
    net: str, recipe: str, warm_up: float, lr: float, smoothing: float, average: str, **own: Any
) -> adv.Recipe:
    """Return a net trained by one of the recipes; `own` are PGD's steps, or the term's strength."""
    kind = recipe if recipe in ("pgd", "n-fgsm") else "fgsm"
    steps = own.get("pgd_steps", 1)
    return adv.Recipe(
        net=adv.ResNet18() if net == "resnet18" else adv.BigNet(),
        optimizer=adv.SGD(lr, decay=adv.OneCycle(0.3)),
        curriculum=adv.Curriculum(
            eps=adv.Ramp(0.0, EPS, until=warm_up) if warm_up else EPS,
            steps=steps,
            pace=max(0.25, 1.25 / steps) if recipe == "pgd" else None,
            fraction=1.0,
            kind=kind,
        ),
        objective=_objective(recipe, own.get("strength", 1.0)),
        augment=adv.Augment(flip=0.5, crop=4),
        smoothing=smoothing,
        ema=AVERAGES[average] if average in AVERAGES else adv.Latest(),
    )


def _objective(recipe: str, strength: float) -> adv.Objective:
    """Return the objective of a recipe, its published weight multiplied by `strength`."""
    objectives: dict[str, adv.Objective] = {
        "fgsm-pgi": adv.PGI(10 * strength),
        "liet": adv.LIET(adv.Ramp(0.0, 100 * strength)),
        "nuat": adv.NuAT(adv.Ramp(0.0, 4 * strength)),
        "gat": adv.GAT(10 * strength),
        "grad-align": adv.GradAlign(0.2 * strength),
    }
    return objectives.get(recipe, adv.Madry())


_PUBLISHED: dict[str, Any] = {
    "net": "bignet",
    "warm_up": 0.0,
    "lr": 0.1,
    "smoothing": 0.4,
    "average": "0.9995",
}
_TERM: dict[str, Any] = {**_PUBLISHED, "strength": 1.0}

space = Space(
    question="Which recipe of adversarial training is worth most per second?",
    knobs={
        "net": Choice(("bignet", "resnet18")),
        "recipe": Choice(("pgd", "n-fgsm", *_WITH_TERM)),
        "pgd_steps": Int(2, 10, when={"recipe": "pgd"}),
        "strength": Float(0.25, 4.0, log=True, when={"recipe": _WITH_TERM}),
        "warm_up": Choice((0.0, 0.15, 0.3)),
        "lr": Float(0.02, 0.2, log=True),
        "smoothing": Float(0.0, 0.7),
        "average": Choice((*AVERAGES, "latest")),
    },
    build=build,
    known=(
        {**_PUBLISHED, "recipe": "pgd", "pgd_steps": 10},
        {**_PUBLISHED, "recipe": "n-fgsm"},
        {**_TERM, "recipe": "fgsm-pgi"},
        {**_TERM, "recipe": "liet", "smoothing": 0.6},
        {**_TERM, "recipe": "nuat"},
        {**_TERM, "recipe": "gat"},
        {**_TERM, "recipe": "grad-align"},
    ),
    laptop={"net": Choice(("bignet",)), "pgd_steps": Int(2, 4)},
    scale={"train_steps": None},
)
