"""Transfer (Papernot et al. 2016): images made for one net are tried on another."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from adv.attacks.attack import Attack
from adv.attacks.ball import Ball


@dataclass(frozen=True)
class Transfer(Attack):
    """An attack on `source`, whose images are given to whatever model is attacked.

    The model itself is never asked. If it is weaker against this than against the same attack on
    its own gradients, it hides them. Against a random source wrap it in `Votes`. `source` lies on
    the device of the images; it makes this the one attack that equals only itself and copies of
    it that hold the same net.
    """

    attack: Attack
    source: nn.Module = field(repr=False)
    ball: Ball = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ball", self.attack.ball)

    def suits(self, classes: int) -> bool:
        return self.attack.suits(classes)

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.attack(self.source, x, y, generator=generator)
