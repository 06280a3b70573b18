"""Do a natural and an adversarial phase want a learning rate and a weight decay each of their own?

    python launch.py --space two_phase

BigNet is trained on natural images first, for a share of the epochs, then under PGD at 8/255. The
adversarial phase has its own learning rate and weight decay: Mendes et al. 2023 (arXiv 2304.02497)
report that tuning the two phases separately cuts the error by up to 80 %, compared with one setting
for both. `natural` is the share of the epochs without an attack, 0 for none; the first
configuration has none, and the second one phase of each with equal settings. `fraction` is the
share of each batch that is attacked in the second phase. A natural epoch is many times cheaper than
an adversarial one, so trials differ in cost.
"""

from __future__ import annotations

import adv
from spaces import Choice, Float, Space

_EPS = 8 / 255


def build(
    natural: float, fraction: float, lr: float, weight_decay: float, **second: float
) -> adv.Recipe:
    """Return BigNet in one or two phases; `second` are the settings of the adversarial one."""
    if natural == 0:
        optimizer = adv.AdamW(lr, weight_decay)
        return adv.Recipe(
            net=adv.BigNet(),
            optimizer=optimizer,
            curriculum=adv.Curriculum(_EPS, 10, fraction=fraction),
        )
    starts = (0.0, natural)
    return adv.Recipe(
        net=adv.BigNet(),
        optimizer=adv.AdamW(
            lr,
            adv.Piecewise(starts, (weight_decay, second["adversarial_weight_decay"])),
            decay=adv.Piecewise(starts, (1.0, second["adversarial_lr"] / lr)),
        ),
        curriculum=adv.Curriculum(_EPS, 10, fraction=adv.Piecewise(starts, (0.0, fraction))),
    )


_TWO = {"natural": (0.25, 0.5, 0.75)}

space = Space(
    question="Do a natural and an adversarial phase want learning rates and decays of their own?",
    knobs={
        "natural": Choice((0.0, 0.25, 0.5, 0.75)),
        "fraction": Choice((0.5, 1.0)),
        "lr": Float(1e-4, 1e-2, log=True),
        "weight_decay": Float(1e-4, 0.3, log=True),
        "adversarial_lr": Float(1e-4, 1e-2, log=True, when=_TWO),
        "adversarial_weight_decay": Float(1e-4, 0.3, log=True, when=_TWO),
    },
    build=build,
    known=(
        {"natural": 0.0, "fraction": 1.0, "lr": 1e-3, "weight_decay": 1e-2},
        {
            "natural": 0.5,
            "fraction": 1.0,
            "lr": 1e-3,
            "weight_decay": 1e-2,
            "adversarial_lr": 1e-3,
            "adversarial_weight_decay": 1e-2,
        },
    ),
)
