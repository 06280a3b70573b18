"""Everything that decides how one net is trained. Equal recipe, equal seed, equal net."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import nn

from adv.attacks import PGD, Linf
from adv.augment import Augment
from adv.defences import Defence
from adv.models import BigNet, Net
from adv.randomness import Stream, attach, part
from adv.schedule import Ramp, Schedule, at


@dataclass(frozen=True)
class AdamW:
    """AdamW (Loshchilov and Hutter 2019); `decay` scales `lr` over the training."""

    lr: float = 1e-3
    weight_decay: float = 1e-2
    decay: Schedule = 1.0

    def __call__(self, net: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(net.parameters(), lr=self.lr, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with Nesterov momentum; `decay` scales `lr` over the training."""

    lr: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    decay: Schedule = 1.0

    def __call__(self, net: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            net.parameters(),
            lr=self.lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            nesterov=self.momentum > 0,
        )


@dataclass(frozen=True)
class Lesson:
    """What the attack of one epoch is, and which share of each batch it meets."""

    attack: PGD
    fraction: float


@dataclass(frozen=True)
class Curriculum:
    """Schedules over the training attack. The defaults are the report's curriculum.

    At t = elapsed / total epochs: eps = 0.01 (1 - t) + 0.1 t, steps = int(10 (1 - t) + 40 t), half
    of each batch attacked. Cai et al. 2018 is the idea; here the strength rises with every epoch.

    Args:
      eps: radius of the Linf ball.
      steps: PGD steps, rounded down.
      pace: step length relative to eps.
      fraction: share of each batch that is attacked, in [0, 1].
      most_steps: a cap on `steps`, None for no cap. With fewer steps the pace grows, up to 1, so
        that `steps * pace` stays what it was, or 2.5, whichever is less.
    """

    eps: Schedule = field(default_factory=lambda: Ramp(0.01, 0.1))
    steps: Schedule = field(default_factory=lambda: Ramp(10, 40))
    pace: Schedule = 0.25
    fraction: Schedule = 0.5
    most_steps: int | None = None

    def __call__(self, t: float) -> Lesson:
        """The lesson at t in [0, 1)."""
        steps = max(1, int(at(self.steps, t) + 1e-9))  # a cosine's 5 may be 4.999999999999999
        capped = min(steps, self.most_steps or steps)
        pace = at(self.pace, t)
        if capped < steps:
            pace = max(pace, min(1.0, pace * steps / capped, 2.5 / capped))
        fraction = at(self.fraction, t)
        if not 0 <= fraction <= 1:
            raise ValueError(f"the attacked fraction lies in [0, 1], got {fraction}")
        return Lesson(PGD(Linf(at(self.eps, t)), steps=capped, pace=pace), fraction)


@dataclass(frozen=True)
class Recipe:
    """How one net is trained.

    Args:
      net: the architecture, a value such as `BigNet(width=2)`.
      defences: transforms of the net, applied in this order.
      optimizer: `AdamW(...)` or `SGD(...)`.
      curriculum: the training attack over time.
      augment: of the training images.
      epochs: passes over the training split, 1 or more.
      batch: images in a step.

    Raises:
      ValueError: a count below 1.
    """

    net: Net = field(default_factory=BigNet)
    defences: tuple[Defence, ...] = ()
    optimizer: AdamW | SGD = field(default_factory=AdamW)
    curriculum: Curriculum = field(default_factory=Curriculum)
    augment: Augment = field(default_factory=Augment)
    epochs: int = 60
    batch: int = 128

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")

    def gradient_steps(self, images: int) -> int:
        """Passes forward and backward over a batch that training on so many images takes."""
        lessons = (self.curriculum(epoch / self.epochs) for epoch in range(self.epochs))
        steps = sum(1 + lesson.attack.steps * lesson.fraction for lesson in lessons)
        return round(steps * math.ceil(images / self.batch))


def build(recipe: Recipe, classes: int, seed: int) -> nn.Module:
    """The untrained net of a recipe, defended; torch's global generator comes out untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` reseeds the GPUs' too
        net = recipe.net(classes)
        for defence in recipe.defences:
            net = defence(net)
    attach(net, Stream(part(seed, 1)))
    return net
