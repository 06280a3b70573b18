"""What should training minimise, and does perturbing the weights help?

    python launch.py --space objective

BigNet, trained against PGD-10 of eps 8/255, the radius of the published tables, with five
objectives: a share of each batch attacked (`mixed`, as in the report), all of it (Madry et al.
2018), each image clean and attacked (`paired`), TRADES (Zhang et al. 2019) and MART (Wang et al.
2020). `awp` adds adversarial weight perturbation (Wu et al. 2020), which costs half as much again.
The report's and the published settings come first. Objectives that attack every image take about
twice the time of `mixed`. At the laptop scale the attack has one step, and a search takes about
three minutes.
"""

from __future__ import annotations

from typing import Any

import adv
from spaces import Choice, Float, Prior, Space


def build(objective: str, awp: bool, **settings: Any) -> adv.Recipe:
    """Return BigNet at eps 8/255; `settings` belong to the objective and to AWP."""
    chosen: adv.Objective
    if objective == "paired":
        chosen = adv.Paired(settings["clean_weight"])
    elif objective == "trades":
        chosen = adv.TRADES(settings["trades_beta"])
    elif objective == "mart":
        chosen = adv.MART(settings["mart_beta"])
    else:
        chosen = adv.Mixed() if objective == "mixed" else adv.Madry()
    return adv.Recipe(
        net=adv.BigNet(),
        curriculum=adv.Curriculum(8 / 255, steps=10, fraction=settings.get("fraction", 1.0)),
        objective=adv.AWP(chosen, settings["awp_gamma"]) if awp else chosen,
    )


space = Space(
    question="What should training minimise, and does perturbing the weights help?",
    knobs={
        "objective": Choice(("mixed", "madry", "paired", "trades", "mart")),
        "fraction": Float(0.25, 1.0, when={"objective": "mixed"}),
        "clean_weight": Float(0.0, 0.5, when={"objective": "paired"}),
        # Zhang et al. 2019 take 1 and 6, Wang et al. 2020 take 5, Wu et al. 2020 take .005 and .01.
        "trades_beta": Float(
            1.0, 10.0, log=True, when={"objective": "trades"}, prior=Prior(6.0, 1.7)
        ),
        "mart_beta": Float(3.0, 7.0, when={"objective": "mart"}, prior=Prior(5.0, 1.0)),
        "awp": Choice((False, True)),
        "awp_gamma": Float(1e-3, 2e-2, log=True, when={"awp": True}, prior=Prior(7e-3, 1.7)),
    },
    build=build,
    known=(
        {"objective": "mixed", "fraction": 0.5, "awp": False},
        {"objective": "madry", "awp": False},
        {"objective": "trades", "trades_beta": 6.0, "awp": False},
        {"objective": "mart", "mart_beta": 5.0, "awp": False},
        {"objective": "madry", "awp": True, "awp_gamma": 0.01},
        {"objective": "trades", "trades_beta": 6.0, "awp": True, "awp_gamma": 0.005},
    ),
)
