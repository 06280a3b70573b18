"""NuAT and GAT: single-step training, guided by what the step does to the net's answers."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from adv.attacks.attack import default_generator
from adv.runtime.frozen import frozen
from adv.training.objective import Batch, Outcome
from adv.training.one_step import SingleStep, input_gradient
from adv.training.schedules import Ramp, Schedule


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
