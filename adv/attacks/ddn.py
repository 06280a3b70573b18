"""DDN, the decoupled direction and norm attack (Rony et al. 2019, arXiv 1811.09600), in L2.

Each step goes along the gradient and is then put on a sphere, whose radius shrinks by a fixed share
where the image fools the model and grows where it does not. Unlike in the paper the margin is
descended instead of the cross-entropy, which saturates on confident nets, images are not rounded
to 256 levels, and the last one counts too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from adv.attacks.ball import L2, TINY, column
from adv.attacks.minimum_norm import (
    MinimumNorm,
    NearestState,
    check_search,
    cosine_decay,
    limit_of,
    unit_direction,
)


@dataclass(frozen=True)
class DDN(MinimumNorm):
    """The decoupled direction and norm attack.

    Args:
      ball: `L2(eps)`, in which the nearest image is sought.
      steps: gradient steps, 1 or more; one more gradient is computed at the start.
      step_size: length of the first step, which falls to a hundredth.
      gamma: share by which the radius changes.

    Raises:
      ValueError: a setting is out of its range.
    """

    ball: L2
    steps: int = 100
    step_size: float = 1.0
    gamma: float = 0.05

    def __post_init__(self) -> None:
        if not isinstance(self.ball, L2):
            raise ValueError(f"DDN searches L2(eps), not {self.ball}")
        check_search(self.steps, self.step_size, self.gamma)

    @property
    def length(self) -> float:
        return self.step_size

    @property
    def first_radius(self) -> float:
        return min(1.0, self.ball.eps)

    def advance(self, state: NearestState) -> tuple[Tensor, Tensor]:
        length = state.step_size * cosine_decay(state.age, self.steps)
        change = state.adv - state.clean + column(length, state.adv) * unit_direction(state)
        radius = state.radius * torch.where(state.fooled, 1 - self.gamma, 1 + self.gamma)
        radius = radius.minimum(limit_of(state))
        size = change.flatten(1).norm(dim=1).clamp(min=TINY)
        return (state.clean + column(radius / size, change) * change).clamp(0, 1), radius
