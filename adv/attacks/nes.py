"""NES in the query-limited setting (Ilyas, Engstrom, Athalye, Lin 2018): PGD on an estimate.

The gradient is a mean of central differences along random directions, the report's formula:

    grad P(y|x) ~ 1 / (2 n sigma) * sum of (P(y|x + sigma u_i) - P(y|x - sigma u_i)) u_i

for n = samples / 2 directions u_i from N(0, I), each asked about on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adv.attacks.attack import Iterative, State
from adv.attacks.ball import Ball
from adv.attacks.black_box import Queried, ask, queried
from adv.attacks.counter_rng import normal
from adv.attacks.losses import correct, hard
from adv.attacks.query_budget import hunt
from adv.suggestions import suggest

PAIRS = 8  # directions drawn at a time for each image
ROOM = 2**22  # numbers drawn at a time: memory stays bounded however many images there are

Risk = Literal["probability", "ce"]


@dataclass(frozen=True)
class Estimated(Queried):
    """`velocity` [n, c, h, w] is the running mean of the gradients."""

    velocity: Tensor


@dataclass(frozen=True)
class NES(Iterative):
    """Projected gradient descent with gradients estimated from at most `queries` answers an image.

    It starts from the image itself. A step costs `samples` queries, and one more to see whether it
    fooled; queries that do not pay for another step are not spent. The model computes in float32:
    in less, most differences along `sigma` are rounding.

    Args:
      ball: `Linf(eps)` or `L2(eps)`.
      queries: the limit for each image (the report's L).
      samples: queries for a gradient (the report's N), even, half of them on either side.
      sigma: how far from the image the model is asked, in pixel units; a little beyond [0, 1] too.
      step_size: length of a step in pixel units; None: a fifth of eps, as in the report.
      momentum: share of the last step's direction that is kept, in [0, 1).
      loss: "probability" descends P(y|x), as the report did; "ce" ascends -log P(y|x).
      early_stop: look after each step whether the image fools, so that its queries are over; if
        not, there are `queries / samples` steps, as in the report.

    Raises:
      ValueError: a setting is out of its range, or the queries do not pay for one step.
    """

    mixes: ClassVar[bool] = True

    ball: Ball
    queries: int = 10_000
    samples: int = 100
    sigma: float = 1e-3
    step_size: float | None = None
    momentum: float = 0.0
    loss: Risk = "probability"
    early_stop: bool = True
    steps: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.samples < 2 or self.samples % 2:
            raise ValueError(f"samples come in pairs: 2 or more, even, got {self.samples}")
        if self.queries < self.price:
            raise ValueError(f"a step takes {self.price} queries, got {self.queries}")
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"sigma must be finite and above 0, got {self.sigma}")
        if self.ball.eps > 0 and not (math.isfinite(self.length) and self.length > 0):
            raise ValueError(f"a step must have a finite length above 0, got {self.length}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is a share in [0, 1), got {self.momentum}")
        if self.loss not in get_args(Risk):
            near = suggest(str(self.loss), get_args(Risk))
            raise ValueError(
                f"a loss is one of {', '.join(get_args(Risk))}, got {self.loss!r}{near}"
            )
        object.__setattr__(self, "steps", self.queries // self.price)

    @property
    def price(self) -> int:
        """Queries that a step takes."""
        return self.samples + self.early_stop

    @property
    def length(self) -> float:
        """Length of a step in pixel units."""
        return self.ball.eps / 5 if self.step_size is None else self.step_size

    def start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> State:
        return Estimated(**vars(queried(x, y, generator)), velocity=torch.zeros_like(x))

    def step(self, model: nn.Module, state: State) -> State:
        assert isinstance(state, Estimated)
        gradient = self._gradient(model, state)
        velocity = self.momentum * state.velocity + (1 - self.momentum) * gradient
        adv = self.ball.project(self.ball.ascend(state.adv, velocity, self.length), state.clean)
        fooled = state.fooled
        if self.early_stop:
            fooled = ~correct(ask(model, adv), state.labels)
        queries = state.queries + self.price
        return replace(state, adv=adv, velocity=velocity, fooled=fooled, queries=queries)

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """As any attack; of a deterministic model, an image that fools is asked about no more."""
        return hunt(self, model, x, y, generator=generator).adv

    def _gradient(self, model: nn.Module, state: Estimated) -> Tensor:
        """[n, c, h, w], a block of images after another."""
        block = max(1, ROOM // (PAIRS * state.adv[0].numel()))
        parts = []
        for ids in torch.arange(len(state.adv), device=state.adv.device).split(block):
            labels = hard(state.labels[ids])

            def risks(points: Tensor, labels: Tensor = labels) -> Tensor:
                logits = ask(model, points.flatten(0, 1))
                each = labels[:, None].expand(points.shape[:2])
                return risk(logits, each.flatten(), self.loss).reshape(points.shape[:2])

            where = state.adv[ids], state.seed[ids], state.queries[ids]
            parts.append(estimate(risks, *where, self.samples, self.sigma))
        return torch.cat(parts)


def estimate(
    value: Callable[[Tensor], Tensor],
    x: Tensor,
    seed: Tensor,
    counter: Tensor,
    samples: int,
    sigma: float,
) -> Tensor:
    """The gradient of `value` at `x` [n, ...] from `samples` of its values around each.

    `value` maps points [n, pairs, ...] to [n, pairs]; directions are drawn for `seed` and `counter`
    [n]. Exact on average for a quadratic function; for one of slope g along m directions in all,
    each element has the variance (|g|^2 + g_i^2) / m. Where values are not numbers it is 0.
    """
    total = torch.zeros_like(x)
    for done in range(0, samples // 2, PAIRS):
        pairs = min(PAIRS, samples // 2 - done)
        flat = normal(seed, counter + 2 * done, pairs * x[0].numel())
        directions = flat.reshape(len(x), pairs, *x.shape[1:])
        rise = value(x[:, None] + sigma * directions) - value(x[:, None] - sigma * directions)
        # No matrix product: within an autocast it would be in bfloat16.
        weights = rise.nan_to_num(0.0).reshape(len(x), pairs, *[1] * (x.dim() - 1))
        total += (weights * directions).sum(1)
    return total / (samples * sigma)


def risk(logits: Tensor, labels: Tensor, loss: Risk) -> Tensor:
    """[n]: 1 - P(y|x), or -log P(y|x), from the log-odds against the label.

    Written so because P of a confident net is 1 when rounded to float32, and 1 - P is not 0.
    """
    right = logits.gather(1, labels[:, None])
    against = logits.scatter(1, labels[:, None], -math.inf).logsumexp(1) - right[:, 0]
    return against.sigmoid() if loss == "probability" else F.softplus(against)
