"""Transfer attacks (Papernot et al. 2016): images made against one net are tried on another."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from adv.attacks.attack import Attack
from adv.attacks.ball import Ball


@dataclass(frozen=True)
class Transfer(Attack):
    """An attack on `source`, whose images are used against the attacked model.

    The model itself is never queried. A model that is weaker against this than against the same
    attack on its own gradients masks its gradients. Wrap a random source in `Votes`. `source` lies
    on the device of the images. It compares by identity, so this is the one attack that equals only
    itself and copies that hold the same net.
    """

    attack: Attack
    source: nn.Module = field(repr=False)
    ball: Ball = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ball", self.attack.ball)

    def supports(self, classes: int) -> bool:
        return self.attack.supports(classes)

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.attack(self.source, x, y, generator=generator)
