"""Projected gradient descent (Madry et al. 2018, section 2.1), and FGSM (Goodfellow et al. 2015).

x_{k+1} = project(x_k + step * steepest ascent of the loss), from a random point of the ball. FGSM
is a single step of full length from the image itself. Momentum is that of MI-FGSM (Dong et al.,
CVPR 2018, equation 6): against a random net it averages the noise of the gradients of many steps.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn

from adv.attacks.attack import Iterative, State, initial_state
from adv.attacks.ball import SMALLEST, Ball, check_ball, column
from adv.attacks.gradient import loss_and_grad, with_loss_target
from adv.attacks.losses import Loss, TargetClass, check_loss, loss_supports
from adv.attacks.settings import ADDED_LATER
from adv.attacks.step_schedule import Schedule, cosine_cycles


@dataclass(frozen=True)
class AgedState(State):
    """A state that counts the steps taken, `age` [n]."""

    age: Tensor


@dataclass(frozen=True)
class MomentumState(AgedState):
    """A state that also keeps `gradients` [n, c, h, w], the weighted sum of those so far."""

    gradients: Tensor


@dataclass(frozen=True)
class PGD(Iterative):
    """Projected gradient descent.

    Args:
      ball: `Linf(eps)`, `L2(eps)`, or `L1(eps)`, in which `APGD` is much stronger.
      steps: gradient steps, 1 or more.
      step_size: length of a step in pixel units; None: `pace * ball.eps`.
      pace: length of a step relative to eps, used where `step_size` is None.
      schedule: "constant", or "cosine": twice, in each half of the steps, the length falls from
        `step_size` to 0 as half a cosine; `pace=2` is the published length.
      momentum: a step ascends along the gradient, divided by its l1 norm, plus the direction of the
        step before times this number, in [0, 1].
      random_start: start at a random point of the ball, else at the image.
      loss: the loss to maximise: "ce", "margin", "dlr", "mifpe" or "probability-margin"
        (`adv.attacks.losses`), the targeted form of one of the first three, such as "ce-targeted",
        or "kl", the divergence from the model's own prediction at the clean image, which uses no
        label (TRADES).
      target: for a targeted loss: k for the k-th most likely wrong class; None: the first.
      target_class: for a targeted loss, in place of `target`: a class, or "least-likely". Images of
        that class get the most likely wrong class as their target.

    Raises:
      TypeError: `ball` is no ball.
      ValueError: a setting is out of its range.
    """

    unused_by_step: ClassVar[frozenset[str]] = frozenset(
        {"ball", "steps", "step_size", "pace", "random_start", "target", "target_class"}
    )

    ball: Ball
    steps: int = 20
    step_size: float | None = None
    pace: float = 0.25
    random_start: bool = True
    loss: Loss = "ce"
    target: int | None = None
    target_class: TargetClass | None = field(default=None, metadata=ADDED_LATER)
    schedule: Schedule = field(default="constant", metadata=ADDED_LATER)
    momentum: float = field(default=0.0, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        check_ball(self.ball)
        check_loss(self.loss, self.target, self.target_class)
        if self.steps < 1:
            raise ValueError(f"steps must be 1 or more, got {self.steps}")
        if self.schedule not in get_args(Schedule):
            allowed = " or ".join(map(repr, get_args(Schedule)))
            raise ValueError(f"a schedule is {allowed}, got {self.schedule!r}")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum lies in [0, 1], got {self.momentum}")
        if self.ball.eps > 0 and not (math.isfinite(self.length) and self.length > 0):
            raise ValueError(f"a step must have a finite length above 0, got {self.length}")

    @property
    def length(self) -> float:
        """The length of a step in pixel units."""
        return self.pace * self.ball.eps if self.step_size is None else self.step_size

    def supports(self, classes: int) -> bool:
        return loss_supports(self.loss, self.target, classes, self.target_class)

    def start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> State:
        adv = self.ball.sample(x, generator) if self.random_start else x
        state = initial_state(x, y, adv, generator, eps=self.ball.eps, step_size=self.length)
        if self.schedule == "constant" and not self.momentum:
            return state
        aged = AgedState(**vars(state), age=torch.zeros(len(x), device=x.device).long())
        if not self.momentum:
            return aged
        return MomentumState(**vars(aged), gradients=torch.zeros_like(adv))

    def prepare(self, model: nn.Module, state: State) -> State:
        return with_loss_target(model, state, self.loss, self.target, self.target_class)

    def step(self, model: nn.Module, state: State) -> State:
        here = loss_and_grad(model, state.adv, state.loss_target, self.loss)
        length, gradient = state.step_size, here.gradient
        changes: dict[str, Any] = {}
        if isinstance(state, MomentumState):
            gradient = self.momentum * state.gradients + _normalize(gradient)
            changes["gradients"] = gradient
        if isinstance(state, AgedState):
            changes["age"] = state.age + 1
            if self.schedule == "cosine":
                length = length * cosine_cycles(state.age, self.steps)
        moved = self.ball.ascend(state.adv, gradient, length)
        adv = self.ball.project(moved, state.clean, state.eps)
        return replace(state, adv=adv, fooled=here.fooled(state.labels), **changes)

    def step_key(self) -> Hashable:
        # How long a step is depends on the number of steps where it falls with them.
        return super().step_key(), None if self.schedule == "constant" else self.steps


def _normalize(gradient: Tensor) -> Tensor:
    """Divide the gradient of each image by its l1 norm; NaN counts as 0."""
    gradient = gradient.nan_to_num(0.0)
    size = gradient.flatten(1).abs().sum(1).clamp(min=SMALLEST)
    return gradient / column(size, gradient)


def FGSM(ball: Ball) -> PGD:
    """The fast gradient sign method: one step of length eps from the image itself."""
    return PGD(ball, steps=1, pace=1.0, random_start=False)
