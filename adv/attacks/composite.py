"""Attacks composed of attacks: a best-of cascade, each on the images the others did not fool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from adv.attacks.attack import Attack, default_generator
from adv.attacks.ball import Ball
from adv.attacks.inputs import check_inputs
from adv.attacks.losses import is_correct
from adv.runtime.frozen import frozen


@dataclass(frozen=True)
class Worst(Attack):
    """A best-of cascade: for each image the first attack that fools the model, else the last.

    All attacks search the same ball. The model is queried once after each attack, so wrap a random
    model in `Votes`.

    Raises:
      ValueError: no attack, or attacks over different balls.
    """

    attacks: tuple[Attack, ...]
    ball: Ball = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.attacks:
            raise ValueError("Worst needs at least one attack")
        object.__setattr__(self, "ball", self.attacks[0].ball)
        if any(attack.ball != self.ball for attack in self.attacks):
            raise ValueError(f"all attacks of Worst search one ball, not {self.attacks}")

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        x, y = check_inputs(x, y)
        generator = generator or default_generator()
        worst = x.clone()
        standing = torch.arange(len(x), device=x.device)
        for attack in self.attacks:
            if not len(standing):
                break
            adv = attack(model, x[standing], y[standing], generator=generator)
            worst[standing] = adv
            with frozen(model), torch.no_grad():
                correct = is_correct(model(adv), y[standing])
            standing = standing[correct]
        return worst


def members(attack: Attack) -> Iterator[Attack]:
    """Yield the attacks of a cascade in order, those of cascades in it too; else the attack."""
    if isinstance(attack, Worst):
        for member in attack.attacks:
            yield from members(member)
    else:
        yield attack


def restarts(attack: Attack, n: int) -> Worst:
    """Return the best of `n` runs of an attack, each from its own random start."""
    if n < 1:
        raise ValueError(f"restarts must be 1 or more, got {n}")
    return Worst((attack,) * n)
