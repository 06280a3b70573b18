"""SAAD: robust distillation that counts what moves the teacher (arXiv 2512.10275, TMLR 2026)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from adv.attacks.losses import hard_labels, kl_divergence
from adv.distillation.objectives import Distillation
from adv.training.objective import Batch, Outcome
from adv.training.one_step import check_weight
from adv.training.schedules import Ramp, Schedule, value_at


@dataclass(frozen=True)
class SAAD(Distillation):
    """Sample-wise adaptive adversarial distillation: a weight for each image by its entropy.

    A stronger teacher need not make a stronger student: what the student's attack finds hardly
    moves it, and teaches nothing. So an image counts by the entropy of the teacher's answer to the
    attacked image x' = x + d. With e that entropy minus the smallest of the batch, e' = e / max e,
    S and T softmaxes, s and t logits, KL(T || S) of the student from the teacher, the loss is the
    mean of

        scale e [KL at x' + w KL(softmax(t(x') - t(x - d)) || softmax(s(x') - s(x - d)))]
        + clean (1 - e') KL at x

    The second term (IGDM) matches the directional derivatives of both nets along d. The lesson's
    attack raises KL(T~(x') || S(x')), where T~ are the teacher's answers to the clean image with
    the true logit changed as the teacher's gradient says: one pass of the teacher instead of one
    for each step. It starts as the lesson does; the authors' starts with Gaussian noise of 0.001.
    Of mixed labels the likelier class is the true one.

    Args:
      teacher: path of a checkpoint.
      scale: of the entropy's weight, 0 or more; published: 5.
      clean: weight of clean images, 0 or more; the authors' code has no default.
      weight: w, a number or a schedule of 0 or more; published: from 0 to 1, with 100 classes 10.

    Raises:
      ValueError: a setting is out of its range. The file is not opened before training.
    """

    teacher: str | Path
    scale: float = 5.0
    clean: float = 1.0
    weight: Schedule = field(default_factory=lambda: Ramp(0.0, 1.0))
    extra_passes = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("scale", "clean"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is 0 or more, got {value}")
        check_weight(self.weight)

    def term_weight(self, elapsed: float) -> float:
        return value_at(self.weight, elapsed)

    def attack(self, net: nn.Module, batch: Batch) -> Tensor:
        disagreement = _Disagreement(net, batch, self.teacher_of(batch))
        zeros = torch.zeros(len(batch.x), dtype=torch.long, device=batch.x.device)
        return batch.lesson.attack(disagreement, batch.x, zeros, generator=batch.generator)

    def forward(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        opposite = 2 * batch.x - adv
        taught = self.ask_teacher(batch, adv).log_softmax(1)
        slope = self.ask_teacher(batch, adv) - self.ask_teacher(batch, opposite)
        adversarial, clean = net(adv).float(), net(batch.x).float()
        own_slope = adversarial - net(opposite).float()
        entropy = -(taught.exp() * taught).sum(1)
        excess = entropy - entropy.min()
        attacked = kl_divergence(adversarial, taught)
        attacked = attacked + self.term_weight_at(batch) * kl_divergence(
            own_slope, slope.log_softmax(1)
        )
        natural = kl_divergence(clean, self.ask_teacher(batch).log_softmax(1))
        rest = 1 - excess / (excess.max() + 1e-8)
        loss = (self.scale * excess * attacked + self.clean * rest * natural).mean()
        return Outcome(loss, clean, adversarial, adv)


class _Disagreement(nn.Module):
    """Two logits of which the first wins where student and teacher agree: what SAAD attacks.

    They are 0 and KL(T~(x') || S(x')), so that every loss with the label 0 grows with that.
    """

    def __init__(self, student: nn.Module, batch: Batch, teacher: nn.Module) -> None:
        super().__init__()
        self.student, self.x = student, batch.x.detach()
        true = hard_labels(batch.y)[:, None]
        with torch.enable_grad():
            x = batch.x.detach().requires_grad_()
            logits = teacher(x).float()
            (self.slope,) = torch.autograd.grad(logits.gather(1, true).sum(), x)
        self.logits = logits.detach()
        self.true = torch.zeros_like(self.logits).scatter(1, true, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        change = (self.slope * (x - self.x)).flatten(1).sum(1)
        taught = (self.logits + change[:, None] * self.true).log_softmax(1)
        apart = kl_divergence(self.student(x).float(), taught)
        return torch.stack([torch.zeros_like(apart), apart], 1)
