"""Everything that decides how one net is trained. Equal recipe, equal seed, equal net."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import nn

from adv.augment import Augment
from adv.data.generated import ImageSource
from adv.defences import Defence
from adv.models import BigNet, Net
from adv.runtime.random_streams import RngStream, attach, derive_seed
from adv.suggestions import suggest
from adv.training.cat import CAT
from adv.training.curriculum import Curriculum
from adv.training.objectives import Mixed, Objective
from adv.training.optimizers import SGD, AdamW

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Recipe:
    """How one net is trained.

    Args:
      net: the architecture, a value such as `BigNet(width=2)`.
      defences: transforms of the net, applied in this order.
      optimizer: `AdamW(...)` or `SGD(...)`.
      curriculum: the training attack over time, `Curriculum(...)` or `CAT(...)`.
      objective: what an update minimises, given that attack.
      augment: of the training images.
      epochs: passes over the training split, 1 or more.
      batch: images in a step.
      smoothing: of the labels (Szegedy et al. 2016), in [0, 1); Pang et al. 2021 advise up to 0.2.
      ema: decay of the average of the weights that is shown, kept and judged, in [0, 1); 0: none.
      clip: the longest gradient that is followed as it is (its 2-norm), None for no limit.
      generated: images that take the place of a share of each batch, of a file (`Generated`) or
        made as a recipe of their own says (`Synthetic`).
      patience: epochs without a better watched robust accuracy after which whoever watches stops
        (`adv.watch`), None for never.
      precision: of the net while it trains; "bfloat16" by autocast. Images, perturbations, losses
        and weights are float32 in either case, and so is every evaluation.

    Raises:
      ValueError: a setting is out of its range.
    """

    net: Net = field(default_factory=BigNet)
    defences: tuple[Defence, ...] = ()
    optimizer: AdamW | SGD = field(default_factory=AdamW)
    curriculum: Curriculum | CAT = field(default_factory=Curriculum)
    objective: Objective = field(default_factory=Mixed)
    augment: Augment = field(default_factory=Augment)
    epochs: int = 60
    batch: int = 128
    smoothing: float = 0.0
    ema: float = 0.0
    clip: float | None = None
    generated: ImageSource | None = None
    patience: int | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} lies in [0, 1), got {getattr(self, name)}")
        if self.precision not in get_args(Precision):
            allowed = ", ".join(get_args(Precision))
            near = suggest(str(self.precision), get_args(Precision))
            raise ValueError(f"a precision is one of {allowed}, got {self.precision!r}{near}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"a gradient is clipped to a length above 0, got {self.clip}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience is 1 epoch or more, got {self.patience}")

    def gradient_steps(self, images: int) -> int:
        """Passes forward and backward over a batch that training on so many images takes, at most.

        Fewer where patience or `CAT` end it early, or `CAT` stays in its first lessons.
        """
        lessons = self.curriculum.lessons(self.epochs)
        steps = sum(self.objective.passes(lesson) for lesson in lessons)
        return round(steps * math.ceil(images / self.batch))


def build(recipe: Recipe, classes: int, seed: int) -> nn.Module:
    """The untrained net of a recipe, defended; torch's global generator comes out untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` reseeds the GPUs' too
        net = recipe.net(classes)
        for defence in recipe.defences:
            net = defence(net)
    attach(net, RngStream(derive_seed(seed, 1)))
    return net
