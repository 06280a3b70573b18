"""How soon can a small net be made robust, when only the time on the clock counts?

    python launch.py --space speedrun

Nets up to the size of ResNet-18, in bfloat16, with crops, flips and one learning-rate cycle, at
8/255. The first known configuration is for `benchmarks/speedrun.py`: single-step training as short
as Fast AT's 15 epochs (Wong et al. 2020: 45 % under PGD-50-10 in 6 minutes), but with N-FGSM, which
does not overfit catastrophically (de Jorge et al. 2022). The second is for its ten-minute run:
TRADES and AWP with averaged weights, the best of the published ResNet-18 rows (AutoAttack 51.6 %
after much longer training). Neither has been timed on a GPU yet. The third is the first one, small
enough for two cores, where a search takes some minutes.
"""

from __future__ import annotations

import adv
from spaces import Choice, Float, Int, Space

NETS = ("resnet18", "wrn-16-4", "wrn-10-1")


def build(
    net: str, attack: str, lr: float, objective: str, ema: float, pgd_steps: int = 1
) -> adv.Recipe:
    """Return a net of `NETS`, trained at 8/255 with one learning-rate cycle."""
    loss: adv.Objective = adv.AWP(adv.TRADES(), 0.005) if objective == "trades-awp" else adv.Madry()
    depth, _, width = net.removeprefix("wrn-").partition("-")
    return adv.Recipe(
        net=adv.ResNet18() if net == "resnet18" else adv.WRN(int(depth), int(width)),
        optimizer=adv.SGD(lr=lr, decay=adv.OneCycle(0.4)),
        curriculum=adv.Curriculum(
            eps=8 / 255,
            steps=pgd_steps,
            pace=max(0.25, 1.25 / pgd_steps) if attack == "pgd" else None,
            fraction=1.0,
            kind="pgd" if attack == "pgd" else "n-fgsm",
        ),
        objective=loss,
        augment=adv.Augment(flip=0.5, crop=4),
        ema=ema,
        precision="bfloat16",
    )


space = Space(
    question="How soon can a small net be made robust, when only the clock counts?",
    knobs={
        "net": Choice(NETS),
        "attack": Choice(("n-fgsm", "pgd")),
        "pgd_steps": Int(2, 10, when={"attack": "pgd"}),
        "lr": Float(0.02, 0.4, log=True),
        "objective": Choice(("at", "trades-awp")),
        "ema": Choice((0.0, 0.99, 0.999)),
    },
    build=build,
    known=(
        {"net": "resnet18", "attack": "n-fgsm", "lr": 0.2, "objective": "at", "ema": 0.0},
        {
            "net": "resnet18",
            "attack": "pgd",
            "pgd_steps": 5,
            "lr": 0.1,
            "objective": "trades-awp",
            "ema": 0.999,
        },
        {"net": "wrn-10-1", "attack": "n-fgsm", "lr": 0.2, "objective": "at", "ema": 0.0},
    ),
    laptop={"net": Choice(("wrn-10-1",)), "pgd_steps": Int(2, 3)},
    scale={"train_steps": None},
)
