"""Objectives with a single-step attack of their own, and a term that guides it: NuAT and GAT.

Catastrophic overfitting, the danger of single-step training, shows as a loss surface that bends
within one step. The second term of these losses keeps the net's answers at both ends of the step
alike, so training takes as long as two or three passes and still resists PGD. The lesson gives the
ball; its kind, steps and pace are not used.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adv.attacks import Linf
from adv.attacks.attack import default_generator
from adv.runtime.frozen import frozen
from adv.runtime.fused_cpu import fused_conv_pool
from adv.training.lesson import Lesson
from adv.training.objective import Batch, Objective, Outcome
from adv.training.schedules import Ramp, Schedule, value_at


class SingleStep(Objective):
    """An objective whose attack is one step of length eps, and whose second term has a weight."""

    weight: Schedule

    def __post_init__(self) -> None:
        check_weight(self.weight)

    def term_weight(self, elapsed: float) -> float:
        return value_at(self.weight, elapsed)

    def passes(self, lesson: Lesson) -> float:
        return 2 + self.extra_passes


class _Guided(SingleStep):
    """CE(clean) + weight * term(clean, attacked); every second attack ascends the term as well."""

    extra_passes = 1.0

    @abstractmethod
    def term(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        """Return the second term, given logits [n, k], as a sum over the batch."""

    def attack(self, net: nn.Module, batch: Batch) -> Tensor:
        ball, generator = batch.lesson.attack.ball, batch.generator or default_generator()
        signs = 2 * torch.randint(0, 2, batch.x.shape, generator=generator).to(batch.x) - 1
        start = ball.ascend(batch.x, signs, ball.eps / 2).clamp(0, 1)
        if batch.number % 2 == 0:
            gradient = input_gradient(net, batch, start)
        else:
            with frozen(net), torch.no_grad():
                clean = net(batch.x).float()
            weight = self.term_weight_at(batch)
            gradient = input_gradient(net, batch, start, lambda z: weight * self.term(clean, z))
        return ball.project(ball.ascend(start, gradient, ball.eps), batch.x)

    def forward(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        clean, adversarial = net(batch.x).float(), net(adv).float()
        term = self.term(clean, adversarial) / len(clean)
        loss = batch.cross_entropy(clean) + self.term_weight_at(batch) * term
        return Outcome(loss, clean, adversarial, adv)


@dataclass(frozen=True)
class NuAT(_Guided):
    """Nuclear-norm adversarial training: CE(clean) + w ||Z - Z'||_* / n (Sriramanan et al. 2021).

    Z and Z' [n, k] are the logits of the clean and of the attacked batch; the norm is the sum of
    the singular values of their difference. The attack starts at a corner of the ball of eps / 2
    and takes a step of eps on the cross-entropy, in every second batch on the whole loss. The
    published weight is for ten classes; it broke training with 100 and 200. Not captured as a CUDA
    graph.

    Args:
      weight: w, a number or a schedule of 0 or more; published: from 0 to 4.

    Raises:
      ValueError: a weight is negative or not finite.
    """

    weight: Schedule = field(default_factory=lambda: Ramp(0.0, 4.0))

    def term(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        return torch.linalg.svdvals(clean - adversarial).sum()

    def phase(self, elapsed: float) -> int | None:
        return None  # singular values on a GPU are computed in steps that the program waits for


@dataclass(frozen=True)
class GAT(_Guided):
    """Guided adversarial training: CE(clean) + w ||p - p'||^2 (Sriramanan et al. 2020).

    p and p' are the softmax of the clean and of the attacked image. The attack is that of `NuAT`,
    with this term.

    Args:
      weight: w, a number or a schedule of 0 or more; published: 10, and 40 in the last 15 % of the
        training, which is `Piecewise((0.0, 0.85), (10.0, 40.0))`.

    Raises:
      ValueError: a weight is negative or not finite.
    """

    weight: Schedule = 10.0

    def term(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        return (clean.softmax(1) - adversarial.softmax(1)).square().sum()


def input_gradient(
    net: nn.Module,
    batch: Batch,
    start: Tensor,
    term: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return the gradient of the cross-entropy, and of a term, with respect to the images.

    The net is in evaluation mode, and labels are not smoothed, as in all attacks of training.

    Args:
      net: in training.
      batch: whose labels count.
      start: [n, c, h, w] the images.
      term: maps logits [n, k] to what is added to the summed cross-entropy.
    """
    with frozen(net), fused_conv_pool(net) as form, torch.enable_grad():
        images = start.detach().contiguous(memory_format=form).requires_grad_()
        logits = net(images).float()
        loss = F.cross_entropy(logits, batch.y, reduction="sum")
        loss = loss if term is None else loss + term(logits)
        return torch.autograd.grad(loss, images)[0]


def linf_radius(lesson: Lesson) -> float:
    """Return the radius of the lesson's ball; raise ValueError if it is not an Linf ball."""
    ball = lesson.attack.ball
    if not isinstance(ball, Linf):
        raise ValueError(f"this objective needs a lesson with an Linf ball, got {ball}")
    return ball.eps


def check_weight(weight: Schedule) -> None:
    """Raise ValueError unless a weight, or a schedule of weights, is 0 or more and finite."""
    for t in range(101):
        value = value_at(weight, t / 100)
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"a weight is 0 or more, got {weight}")
