"""Prior-guided single-step training: each image's attack starts from its earlier ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adv.attacks.attack import default_generator
from adv.data.datasets import Split
from adv.training.objective import Batch, Outcome
from adv.training.one_step import SingleStep, check_weight, input_gradient, linf_radius
from adv.training.schedules import Schedule

_TINY = 1e-30


@dataclass(frozen=True)
class PGI(SingleStep):
    """FGSM-PGI, or FGSM-MEP: CE(attacked) + w MSE(z(attacked), z(start)) (Jia et al. 2022).

    A perturbation is kept for each training image. An attack starts there and takes one step of
    eps, projected. The next start is the old one moved by eps along the signs of the momentum, the
    sum of this gradient, divided by the batch's l1 norm, and `momentum` times the sum so far; it is
    projected too. With a momentum of 0, this is FGSM-EP. Perturbations are drawn anew, as random
    signs, from time to time. As in the authors' code they ignore flips and crops. The mean of the
    squared differences of logits z runs over images and classes.

    The memory takes five bytes for each value of a pixel: 770 MB for CIFAR-10, on the device of the
    training and in each of its saved states.

    Args:
      weight: w, a number or a schedule of 0 or more; published: 10.
      momentum: share of the momentum that is kept, in [0, 1); published: 0.3.
      reset: share of the training after which perturbations are drawn anew, in (0, 1]; published:
        0.4 (40 epochs of 100).

    Raises:
      ValueError: a setting is out of its range.
    """

    weight: Schedule = 10.0
    momentum: float = 0.3
    reset: float = 0.4
    extra_passes = 1.0

    def __post_init__(self) -> None:
        check_weight(self.weight)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum lies in [0, 1), got {self.momentum}")
        if not 0 < self.reset <= 1:
            raise ValueError(f"reset is a share of the training in (0, 1], got {self.reset}")

    def remembers_images(self) -> bool:
        return True

    def memory(self, data: Split, classes: int) -> dict[str, Tensor]:
        """Return perturbations in units of eps, the momentum, and how often the former were drawn.

        Perturbations are projected onto [0, 1] where they are used, not where they are kept, so
        that each of their values is -1, 0 or 1.
        """
        shape, device = data.images.shape, data.labels.device
        return {
            "perturbation": torch.zeros(shape, dtype=torch.int8, device=device),
            "momentum": torch.zeros(shape, device=device),
            "drawn": torch.zeros((), dtype=torch.int64),
        }

    def attack(self, net: nn.Module, batch: Batch) -> Tensor:
        """Return the attacked images [n, c, h, w] and, after them, their starts."""
        eps, rows = linf_radius(batch.lesson), batch.indices
        if batch.number == 0:
            self._draw(batch)
        kept, momentum = batch.recall("perturbation"), batch.recall("momentum")
        prior = kept[rows].to(batch.x)
        start = (batch.x + eps * prior).clamp(0, 1)
        gradient = input_gradient(net, batch, start)
        moved = batch.x + eps * (prior + gradient.sign())
        step = gradient / gradient.abs().sum().clamp(min=_TINY) + self.momentum * momentum[rows]
        momentum[rows] = step
        kept[rows] = (prior + step.sign()).clamp(-1, 1).to(torch.int8)
        return torch.cat([batch.lesson.attack.ball.project(moved, batch.x), start])

    def forward(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        attacked, start = adv.split(len(batch.x))
        before, after = net(start).float(), net(attacked).float()
        term = F.mse_loss(after, before)
        loss = batch.cross_entropy(after) + self.term_weight_at(batch) * term
        return Outcome(loss, after[:0], after, attacked)

    def _draw(self, batch: Batch) -> None:
        """Draw all perturbations anew where that is due; the momentum begins at 0 again."""
        due = 1 + int(batch.elapsed / self.reset + 1e-9)
        drawn = batch.recall("drawn")
        if due <= int(drawn):
            return
        drawn.fill_(due)
        kept, generator = batch.recall("perturbation"), batch.generator or default_generator()
        kept.copy_(2 * torch.randint(0, 2, kept.shape, generator=generator, dtype=torch.int8) - 1)
        batch.recall("momentum").zero_()
