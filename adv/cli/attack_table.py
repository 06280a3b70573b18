"""The attacks of `python -m adv attack` by their names on the command line.

The classes are imported when an attack is built, so that `--help` needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping

# Name -> where its class is, and its flags with the names of the arguments that they set.
ATTACKS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "pgd": (
        "adv.attacks:PGD",
        {
            "steps": "steps",
            "step": "step_size",
            "schedule": "schedule",
            "momentum": "momentum",
            "loss": "loss",
            "target": "target_class",
            "rank": "target",
        },
    ),
    "fgsm": ("adv.attacks:FGSM", {}),
    "apgd": (
        "adv.attacks:APGD",
        {"steps": "steps", "loss": "loss", "target": "target_class", "rank": "target"},
    ),
    "pma": ("adv.attacks:PMA", {"steps": "steps"}),
    "fmn": ("adv.attacks:FMN", {"steps": "steps", "step": "step_size"}),
    "ddn": ("adv.attacks:DDN", {"steps": "steps", "step": "step_size"}),
    "square": (
        "adv.attacks:Square",
        {"queries": "queries", "target": "target_class", "rank": "target"},
    ),
    "nes": (
        "adv.attacks:NES",
        {"queries": "queries", "samples": "samples", "step": "step_size", "loss": "loss"},
    ),
}
