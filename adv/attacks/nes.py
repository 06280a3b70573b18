"""NES in the query-limited setting (Ilyas, Engstrom, Athalye, Lin 2018): PGD on an estimate.

The gradient is estimated by central differences along random directions (the report's formula):

    grad P(y|x) ~ 1 / (2 n sigma) * sum of (P(y|x + sigma u_i) - P(y|x - sigma u_i)) u_i

for n = samples / 2 directions u_i from N(0, I), each queried on both sides.
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
from adv.attacks.black_box import QueryState, initial_query_state, query
from adv.attacks.counter_rng import normal
from adv.attacks.losses import hard_labels, is_correct
from adv.attacks.query_budget import hunt
from adv.suggestions import suggest

PAIRS = 8  # directions drawn at a time for each image
MAX_NUMBERS = 2**22  # random numbers drawn at a time, so that memory is bounded for any batch

Risk = Literal["probability", "ce"]


@dataclass(frozen=True)
class NESState(QueryState):
    """The state of NES.

    Args:
      velocity: [n, c, h, w] the running mean of the gradients.
    """

    velocity: Tensor


@dataclass(frozen=True)
class NES(Iterative):
    """PGD with gradients estimated from at most `queries` queries per image.

    It starts from the image itself. A step costs `samples` queries, and one more to check whether
    the model is fooled; queries that do not suffice for another step are not spent. The model
    computes in float32: at lower precision most differences along `sigma` are rounding errors.

    Args:
      ball: `Linf(eps)` or `L2(eps)`.
      queries: the budget of each image (the report's L).
      samples: queries per gradient (the report's N), even, half of them on either side.
      sigma: distance from the image at which the model is queried, in pixel units; queries may lie
        slightly outside [0, 1].
      step_size: length of a step in pixel units; None: a fifth of eps, as in the report.
      momentum: weight of the previous direction, in [0, 1).
      loss: "probability" minimises P(y|x), as the report did; "ce" maximises -log P(y|x).
      early_stop: check after each step whether the model is fooled, and stop if so; if False,
        there are `queries / samples` steps, as in the report.

    Raises:
      ValueError: a setting is out of its range, or the queries do not suffice for one step.
    """

    budget_setting: ClassVar[str | None] = "queries"
    unused_by_step: ClassVar[frozenset[str]] = frozenset({"ball", "step_size"})

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
        """The number of queries of one step."""
        return self.samples + self.early_stop

    @property
    def length(self) -> float:
        """The length of a step in pixel units."""
        return self.ball.eps / 5 if self.step_size is None else self.step_size

    def start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> State:
        eps, size = self.ball.eps, self.length
        state = initial_query_state(x, y, generator, eps=eps, step_size=size)
        return NESState(**vars(state), velocity=torch.zeros_like(x))

    def step(self, model: nn.Module, state: State) -> State:
        assert isinstance(state, NESState)
        gradient = self._gradient(model, state)
        velocity = self.momentum * state.velocity + (1 - self.momentum) * gradient
        moved = self.ball.ascend(state.adv, velocity, state.step_size)
        adv = self.ball.project(moved, state.clean, state.eps)
        fooled = state.fooled
        if self.early_stop:
            fooled = ~is_correct(query(model, adv), state.labels)
        queries = state.queries + self.price
        return replace(state, adv=adv, velocity=velocity, fooled=fooled, queries=queries)

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Attack as any attack; an image that fools a deterministic model is not queried again."""
        return hunt(self, model, x, y, generator=generator).adv

    def _gradient(self, model: nn.Module, state: NESState) -> Tensor:
        """Return the estimated gradient [n, c, h, w], computed for a block of images at a time."""
        block = max(1, MAX_NUMBERS // (PAIRS * state.adv[0].numel()))
        gradients = []
        for ids in torch.arange(len(state.adv), device=state.adv.device).split(block):
            labels = hard_labels(state.labels[ids])

            def risks(points: Tensor, labels: Tensor = labels) -> Tensor:
                logits = query(model, points.flatten(0, 1))
                repeated = labels[:, None].expand(points.shape[:2])
                return risk(logits, repeated.flatten(), self.loss).reshape(points.shape[:2])

            where = state.adv[ids], state.seed[ids], state.queries[ids]
            gradients.append(estimate_gradient(risks, *where, self.samples, self.sigma))
        return torch.cat(gradients)


def estimate_gradient(
    value: Callable[[Tensor], Tensor],
    x: Tensor,
    seed: Tensor,
    counter: Tensor,
    samples: int,
    sigma: float,
) -> Tensor:
    """Estimate the gradient of `value` at `x` [n, ...] from `samples` values around each point.

    Unbiased for a quadratic function. For a linear function of gradient g and m directions in all,
    element i of the estimate has variance (|g|^2 + g_i^2) / m. Where values are NaN the estimate is
    0.

    Args:
      value: maps points [n, pairs, ...] to values [n, pairs].
      x: [n, ...] where the gradient is estimated.
      seed: [n] int64, seeds of the directions.
      counter: [n] int64, counters of the directions.
      samples: number of values, even.
      sigma: distance of the points from `x`.
    """
    total = torch.zeros_like(x)
    for done in range(0, samples // 2, PAIRS):
        pairs = min(PAIRS, samples // 2 - done)
        flat = normal(seed, counter + 2 * done, pairs * x[0].numel())
        directions = flat.reshape(len(x), pairs, *x.shape[1:])
        rise = value(x[:, None] + sigma * directions) - value(x[:, None] - sigma * directions)
        # Not a matrix product: under autocast it would run in bfloat16.
        weights = rise.nan_to_num(0.0).reshape(len(x), pairs, *[1] * (x.dim() - 1))
        total += (weights * directions).sum(1)
    return total / (samples * sigma)


def risk(logits: Tensor, labels: Tensor, loss: Risk) -> Tensor:
    """Return 1 - P(y|x) or -log P(y|x), [n], computed from the log-odds against the label.

    The log-odds are needed because P of a confident net rounds to 1 in float32.
    """
    right = logits.gather(1, labels[:, None])
    odds = logits.scatter(1, labels[:, None], -math.inf).logsumexp(1) - right[:, 0]
    return odds.sigmoid() if loss == "probability" else F.softplus(odds)
