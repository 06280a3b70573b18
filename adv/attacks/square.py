"""Square Attack (Andriushchenko, Croce, Flammarion, Hein 2020): random search without gradients.

Each query changes one square window of the image, at a random place; the change is kept if it
lowers the margin. Squares shrink with the number of queries. The attack also finds adversarial
examples of nets that mask their gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from adv.attacks.attack import Iterative, State
from adv.attacks.ball import L2, Ball, Linf
from adv.attacks.black_box import QueryState, initial_query_state, query
from adv.attacks.l1 import L1
from adv.attacks.losses import (
    Loss,
    TargetClass,
    check_loss,
    hard_labels,
    is_correct,
    loss_supports,
    loss_target,
    needs_clean_logits,
)
from adv.attacks.query_budget import hunt
from adv.attacks.select_rows import choose_rows
from adv.attacks.settings import ADDED_LATER
from adv.attacks.square_l1 import l1_square_update, pyramid_init
from adv.attacks.square_proposals import (
    constant_on,
    grid_init,
    l2_square_update,
    linf_square_update,
    stripe_init,
)

# The squares' share of the image halves after each of these numbers of queries, out of 10,000.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@dataclass(frozen=True)
class SquareState(QueryState):
    """The state of Square: `adv` is the best image so far.

    Args:
      margin: [n] the margin of the best image, of the right class or against the target;
        `fooled` is whether it fools the model.
    """

    margin: Tensor


@dataclass(frozen=True)
class Square(Iterative):
    """Random search for the smallest margin of the right logit over the largest other one.

    With a target it is the margin of the largest other logit over that of the target.

    A step is a query; the first one is about the initial image: vertical stripes (Linf) or a grid
    of bumps (L2, L1). Only logits are needed of the model, which computes them in float32. It
    goes on after an image fools the model: stopping is up to whoever drives the loop.

    Args:
      ball: `Linf(eps)`, `L2(eps)` or `L1(eps)`.
      queries: steps, 1 or more.
      p: fraction of the image that the first squares cover, in (0, 1]; halved nine times on the
        published schedule, rescaled from 10,000 to `queries`.
      loss: "margin", or "margin-targeted", which needs one query more, at the clean image.
      target, target_class: the target, as in `PGD`.

    Raises:
      ValueError: a setting is out of its range.
    """

    budget_setting: ClassVar[str | None] = "queries"
    unused_by_step: ClassVar[frozenset[str]] = frozenset({"ball", "target", "target_class"})

    ball: Ball
    queries: int = 5000
    p: float = 0.8
    loss: Loss = field(default="margin", metadata=ADDED_LATER)
    target: int | None = field(default=None, metadata=ADDED_LATER)
    target_class: TargetClass | None = field(default=None, metadata=ADDED_LATER)
    steps: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.ball, Linf | L2 | L1):
            raise ValueError(f"Square searches Linf(eps), L2(eps) or L1(eps), not {self.ball}")
        if self.queries < 1:
            raise ValueError(f"queries must be 1 or more, got {self.queries}")
        if not 0 < self.p <= 1:
            raise ValueError(f"p is a share of the image in (0, 1], got {self.p}")
        if self.loss not in ("margin", "margin-targeted"):
            raise ValueError(f"the loss of Square is margin or margin-targeted, got {self.loss!r}")
        check_loss(self.loss, self.target, self.target_class)
        object.__setattr__(self, "steps", self.queries)

    def supports(self, classes: int) -> bool:
        return loss_supports(self.loss, self.target, classes, self.target_class)

    def start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> State:
        state = initial_query_state(x, y, generator, eps=self.ball.eps)
        initialise = _PROPOSALS[type(self.ball)][0]
        margin = torch.full_like(state.seed, math.inf, dtype=torch.float32)
        return SquareState(**{**vars(state), "adv": initialise(state)}, margin=margin)

    def prepare(self, model: nn.Module, state: State) -> State:
        if not needs_clean_logits(self.loss):
            return state
        clean = query(model, state.clean)
        aim = loss_target(self.loss, state.labels, clean, self.target, self.target_class)
        return replace(state, loss_target=aim)

    def step(self, model: nn.Module, state: State) -> State:
        assert isinstance(state, SquareState)
        proposal = self._propose(state)
        logits, labels = query(model, proposal), hard_labels(state.labels)
        if self.loss == "margin":
            margin = right_margin(logits, labels)
        else:
            margin = -right_margin(logits, state.loss_target[:, 1])
        fooled = ~is_correct(logits, labels)
        better = (margin < state.margin) | (fooled & ~state.fooled)
        return replace(
            state,
            adv=choose_rows(better, proposal, state.adv),
            margin=torch.where(better, margin, state.margin),
            fooled=torch.where(better, fooled, state.fooled),
            queries=state.queries + 1,
        )

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Attack as any attack; an image that fools a deterministic model is not queried again."""
        return hunt(self, model, x, y, generator=generator).adv

    def stage(self, tried: Tensor) -> Tensor:
        """Return [n] int64: how often `p` has been halved after `tried` [n] squares."""
        of_10_000 = tried * 10_000 // self.queries
        return torch.bucketize(of_10_000, constant_on(HALVINGS, tried.device))

    def sides(self, height: int, width: int) -> tuple[int, ...]:
        """Return the side of the squares in pixels, one for each stage."""
        odd = isinstance(self.ball, L2 | L1)
        least = 3 if odd else 1
        sides = []
        for k in range(len(HALVINGS) + 1):
            side = max(least, round(math.sqrt(self.p / 2**k * height * width)))
            side += odd and side % 2 == 0
            sides.append(min(side, height, width))
        return tuple(sides)

    def _propose(self, state: SquareState) -> Tensor:
        """Return [n, c, h, w]: the best images so far with one square of each changed."""
        update = _PROPOSALS[type(self.ball)][1]
        sides = self.sides(*state.clean.shape[-2:])
        return update(state, sides, self.stage(state.queries - 1))


_PROPOSALS = {
    Linf: (stripe_init, linf_square_update),
    L2: (grid_init, l2_square_update),
    L1: (pyramid_init, l1_square_update),
}
"""The initial image and the change of one query, by the norm."""


def right_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the right logit minus the largest other one, [n]; below 0 is a mistake."""
    right = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -math.inf)
    return right[:, 0] - others.amax(1)
