"""Square Attack (Andriushchenko, Croce, Flammarion, Hein 2020): random search, no gradient.

Each query changes one square window of the image, at a random place, and the change is kept where
it lowers the margin. Squares shrink with the queries spent. What a net hides from gradients, this
still finds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from adv.attacks.attack import Iterative, State
from adv.attacks.ball import L2, Ball, Linf
from adv.attacks.black_box import Queried, ask, queried
from adv.attacks.losses import correct, hard
from adv.attacks.query_budget import hunt
from adv.attacks.square_proposals import bump, grid, on, square, stripes

# Of 10,000 queries: after each of these the squares' share of the image halves.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@dataclass(frozen=True)
class Searched(Queried):
    """`adv` is the best image so far, `margin` [n] its margin, `fooled` whether it fools."""

    margin: Tensor


@dataclass(frozen=True)
class Square(Iterative):
    """Random search for the least margin: of the right logit over the largest other.

    A step is a query, and the first one asks about the start: vertical stripes (Linf) or a grid of
    bumps (L2). Nothing but logits is needed of the model, which computes them in float32. An image
    that fools is not yet done: whoever drives the loop decides that.

    Args:
      ball: `Linf(eps)` or `L2(eps)`.
      queries: steps, 1 or more.
      p: share of the image that the first squares cover, in (0, 1]; halved nine times on the
        published schedule, rescaled from 10,000 to `queries`.

    Raises:
      ValueError: a setting is out of its range.
    """

    mixes: ClassVar[bool] = True

    ball: Ball
    queries: int = 5000
    p: float = 0.8
    steps: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.ball, Linf | L2):
            raise ValueError(f"Square searches Linf(eps) or L2(eps), not {self.ball}")
        if self.queries < 1:
            raise ValueError(f"queries must be 1 or more, got {self.queries}")
        if not 0 < self.p <= 1:
            raise ValueError(f"p is a share of the image in (0, 1], got {self.p}")
        object.__setattr__(self, "steps", self.queries)

    def start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> State:
        state = queried(x, y, generator)
        begun = grid if isinstance(self.ball, L2) else stripes
        adv = begun(state, self.ball.eps)
        margin = torch.full_like(state.seed, math.inf, dtype=torch.float32)
        return Searched(**{**vars(state), "adv": adv}, margin=margin)

    def step(self, model: nn.Module, state: State) -> State:
        assert isinstance(state, Searched)
        tried = self._moved(state)
        logits, labels = ask(model, tried), hard(state.labels)
        margin, fooled = margins(logits, labels), ~correct(logits, labels)
        better = (margin < state.margin) | (fooled & ~state.fooled)
        return replace(
            state,
            adv=torch.where(_rows(better), tried, state.adv),
            margin=torch.where(better, margin, state.margin),
            fooled=torch.where(better, fooled, state.fooled),
            queries=state.queries + 1,
        )

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """As any attack; of a deterministic model, an image that fools is asked about no more."""
        return hunt(self, model, x, y, generator=generator).adv

    def stage(self, tried: Tensor) -> Tensor:
        """[n] int64: how often `p` was halved once so many squares [n] were tried."""
        of_10_000 = tried * 10_000 // self.queries
        return torch.bucketize(of_10_000, on(HALVINGS, tried.device))

    def sides(self, height: int, width: int) -> tuple[int, ...]:
        """The squares' side in pixels, one for each stage."""
        least = 3 if isinstance(self.ball, L2) else 1
        sides = []
        for k in range(len(HALVINGS) + 1):
            side = max(least, round(math.sqrt(self.p / 2**k * height * width)))
            side += isinstance(self.ball, L2) and side % 2 == 0
            sides.append(min(side, height, width))
        return tuple(sides)

    def _moved(self, state: Searched) -> Tensor:
        """[n, c, h, w]: the best images so far with one square of each changed."""
        move = bump if isinstance(self.ball, L2) else square
        sides = self.sides(*state.clean.shape[-2:])
        return move(state, self.ball.eps, sides, self.stage(state.queries - 1))


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """[n]: of the right class over the best wrong one; below 0 is a mistake."""
    right = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -math.inf)
    return right[:, 0] - others.amax(1)


def _rows(mask: Tensor) -> Tensor:
    return mask[:, None, None, None]
