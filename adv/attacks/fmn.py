"""FMN, the fast minimum-norm attack (Pintor et al. 2021, arXiv 2102.12827), in Linf and L2.

The radius of the search shrinks while the image fools the model and grows while it does not; until
the first success it also grows by the distance to the boundary of the net's linear model. The
authors add that to the length of the change so far, which the pixel limits may have shortened: the
search then stops just short of the boundary. Unlike in their code the last image counts too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from adv.attacks.ball import L2, Ball, Linf, check_ball, column
from adv.attacks.minimum_norm import (
    MinimumNorm,
    NearestState,
    check_search,
    cosine_decay,
    limit_of,
    unit_direction,
)

LAST_GAMMA = 0.02  # relative to the first


@dataclass(frozen=True)
class FMN(MinimumNorm):
    """The fast minimum-norm attack.

    Args:
      ball: `Linf(eps)` or `L2(eps)`, in which the nearest image is sought.
      steps: gradient steps, 1 or more; one more gradient is computed at the start.
      step_size: L2 length of the first step, which falls to a hundredth; None: 10 in Linf, where
        shorter steps crawl, and 1 in L2.
      gamma: share by which the radius changes at first; it falls to a fiftieth.

    Raises:
      TypeError: `ball` is no ball.
      ValueError: a setting is out of its range.
    """

    ball: Ball
    steps: int = 100
    step_size: float | None = None
    gamma: float = 0.05

    def __post_init__(self) -> None:
        check_ball(self.ball)
        if not isinstance(self.ball, Linf | L2):
            raise ValueError(f"FMN searches Linf(eps) or L2(eps), not {self.ball}")
        check_search(self.steps, self.length, self.gamma)

    @property
    def length(self) -> float:
        if self.step_size is not None:
            return self.step_size
        return 10.0 if isinstance(self.ball, Linf) else 1.0

    @property
    def first_radius(self) -> float:
        return 0.0

    def advance(self, state: NearestState) -> tuple[Tensor, Tensor]:
        length = state.step_size * cosine_decay(state.age, self.steps)
        moved = state.adv + column(length, state.adv) * unit_direction(state)
        radius = self._radius(state).minimum(limit_of(state))
        return self.ball.project(moved, state.clean, radius), radius

    def _radius(self, state: NearestState) -> Tensor:
        """Return the radius [n] of the next step, before it is limited to the ball."""
        gamma = self.gamma * cosine_decay(state.age, self.steps, LAST_GAMMA)
        dual = 1 if isinstance(self.ball, Linf) else 2
        slope = state.gradient.flatten(1).norm(dual, dim=1)
        ahead = torch.where(state.distance.isfinite(), 0.0, state.loss.abs() / slope)
        grown = (state.radius + ahead) * (1 + gamma)
        shrunk = (state.radius * (1 - gamma)).minimum(state.distance)
        return torch.where(state.fooled, shrunk, grown).nan_to_num(torch.inf)
