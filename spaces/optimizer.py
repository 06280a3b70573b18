"""Which optimiser, learning rate and decay, and do averaged weights and clipping help?

    python launch.py --space optimizer

BigNet with the report's curriculum. The report's AdamW with a constant learning rate comes first,
then the setting of most published tables: SGD with Nesterov momentum at 0.1, weight decay 5e-4 and
two drops of the rate (Pang et al. 2021 find the weight decay decisive). AdamW's weight decay is
decoupled from the gradient, so its useful range is higher. `ema` averages the weights; `clip`
limits the norm of the gradient to 1. The batch size is the scale's. A trial whose learning rate is
too high fails, and the ledger says so. A search takes about three minutes on two cores at the
laptop scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import adv
from spaces import Choice, Float, Prior, Space, Value

if TYPE_CHECKING:
    from adv.training.schedules import Schedule


def build(optimizer: str, schedule: str, ema: float, clip: bool, **rates: float) -> adv.Recipe:
    """Return BigNet with the report's curriculum; `rates` are those of the chosen optimiser."""
    decays: dict[str, Schedule] = {
        "constant": 1.0,
        "piecewise": adv.Piecewise((0.0, 0.5, 0.75), (1.0, 0.1, 0.01)),
        "cosine": adv.Ramp(1.0, 0.0, "cosine"),
        "one-cycle": adv.OneCycle(),
    }
    kind = adv.AdamW if optimizer == "adamw" else adv.SGD
    lr, weight_decay = rates[f"{optimizer}_lr"], rates[f"{optimizer}_decay"]
    return adv.Recipe(
        net=adv.BigNet(),
        optimizer=kind(lr, weight_decay, decay=decays[schedule]),
        ema=ema,
        clip=1.0 if clip else None,
    )


_PLAIN: dict[str, Value] = {"schedule": "constant", "ema": 0.0, "clip": False}
_ADAMW, _SGD = {"optimizer": "adamw"}, {"optimizer": "sgd"}

space = Space(
    question="Which optimiser, learning rate and decay, and do averaged weights and clipping help?",
    knobs={
        "optimizer": Choice(("adamw", "sgd")),
        "adamw_lr": Float(1e-4, 3e-3, log=True, when=_ADAMW),
        "adamw_decay": Float(1e-3, 0.3, log=True, when=_ADAMW),
        # Pang et al. 2021: most published trainings take 0.1 (table 1), and 5e-4 is best.
        "sgd_lr": Float(0.01, 0.4, log=True, when=_SGD, prior=Prior(0.1, 2.0)),
        "sgd_decay": Float(1e-4, 2e-3, log=True, when=_SGD, prior=Prior(5e-4, 1.7)),
        "schedule": Choice(("constant", "piecewise", "cosine", "one-cycle")),
        "ema": Choice((0.0, 0.99, 0.995, 0.999)),
        "clip": Choice((False, True)),
    },
    build=build,
    known=(
        {"optimizer": "adamw", "adamw_lr": 1e-3, "adamw_decay": 1e-2, **_PLAIN},
        {**_PLAIN, "optimizer": "sgd", "sgd_lr": 0.1, "sgd_decay": 5e-4, "schedule": "piecewise"},
    ),
)
