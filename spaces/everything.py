"""What makes an image classifier robust, when everything may vary?

    python launch.py --space everything

All hyperparameters of `architecture`, `augmentation`, `curriculum`, `objective`, `optimizer` and
`defences` at once, each only where it has a meaning. The report's setting comes first (BigNet,
AdamW, its curriculum, flips), then that of the published tables (ResNet-18 and SGD, every image
attacked at 8/255), BigNet with TRADES, AWP and averaged weights, and the report's WRN-RSE.

So many hyperparameters need hundreds of trials; search the narrower spaces first. At full scale a
trial takes minutes to days; --budget ends a search, and its results are saved. On the laptop scale
nets and attacks are as small as in those spaces: 16 trials take about ten minutes on two cores and
only show that everything works together.
"""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import adv
from spaces import (
    Choice,
    Int,
    Knob,
    Space,
    architecture,
    augmentation,
    curriculum,
    defences,
    exists,
    objective,
    optimizer,
)

_SPACES = (architecture, optimizer, objective, curriculum, augmentation, defences)


def build(**params: Any) -> adv.Recipe:
    """Return the recipe that takes each part from the space that searches it."""

    def build_part(space: Space) -> adv.Recipe:
        return space.build(**{name: params[name] for name in space.knobs if name in params})

    optimized, augmented = build_part(optimizer.space), build_part(augmentation.space)
    return adv.Recipe(
        net=build_part(architecture.space).net,
        defences=build_part(defences.space).defences,
        optimizer=optimized.optimizer,
        curriculum=build_part(curriculum.space).curriculum,
        objective=build_part(objective.space).objective,
        augment=augmented.augment,
        smoothing=augmented.smoothing,
        ema=optimized.ema,
        clip=optimized.clip,
    )


def _knobs() -> dict[str, Knob]:
    """Return all hyperparameters; `fraction` is last, as it depends on objective and attack."""
    knobs = {name: knob for module in _SPACES for name, knob in module.space.knobs.items()}
    shares = [module.space.knobs["fraction"] for module in (objective, curriculum)]
    del knobs["fraction"]
    knobs["fraction"] = replace(shares[0], when={**shares[0].when, **shares[1].when})
    return knobs


_KNOBS = _knobs()


def _known_configuration(**numbers: int) -> dict[str, Any]:
    """Merge a known configuration of each space: by default its first, else of these numbers."""
    chosen = (module.space.known[numbers.get(_name(module), 0)] for module in _SPACES)
    merged = {name: value for params in chosen for name, value in params.items()}
    params: dict[str, Any] = {}
    for name, knob in _KNOBS.items():
        if exists(knob, params):
            params[name] = merged[name]
    return params


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


_TABLES = {"architecture": 3, "optimizer": 1, "curriculum": 1, "augmentation": 2}

space = Space(
    question="What makes an image classifier robust, when everything may vary?",
    knobs=_KNOBS,
    build=build,
    known=(
        _known_configuration(augmentation=1),
        _known_configuration(**_TABLES, objective=1),
        {**_known_configuration(**{**_TABLES, "architecture": 0}, objective=5), "ema": 0.995},
        _known_configuration(architecture=2, defences=1),
    ),
    laptop={
        **architecture.space.laptop,
        **curriculum.space.laptop,
        "wrn_depth": Choice((10,)),
        "steps": Int(2, 4),
        "steps_start": Int(1, 2),
        "cat_most": Int(1, 3),
    },
    scale=curriculum.space.scale,
)
