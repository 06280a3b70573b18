"""The objectives of adversarial training: mixed batches, Madry, paired, TRADES and MART."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adv.attacks.losses import hard_labels, kl_divergence
from adv.training.lesson import Lesson
from adv.training.objective import Batch, Objective, Outcome


@dataclass(frozen=True)
class Mixed(Objective):
    """The mean cross-entropy of a batch whose first images, the lesson's fraction, are attacked."""

    def attack(self, net: nn.Module, batch: Batch) -> Tensor:
        attacked = round(self.attacked_share(batch.lesson) * len(batch.x))
        return batch.attack_first(net, batch.lesson.attack, attacked)

    def forward(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        logits = net(torch.cat([adv, batch.x[len(adv) :]])).float()
        return Outcome(batch.cross_entropy(logits), logits[len(adv) :], logits[: len(adv)], adv)

    def attacked_share(self, lesson: Lesson) -> float:
        return lesson.fraction


@dataclass(frozen=True)
class Madry(Objective):
    """The cross-entropy of attacked images alone (Madry et al. 2018, eq. 2.1)."""

    def attack(self, net: nn.Module, batch: Batch) -> Tensor:
        return batch.attack(net)

    def forward(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        logits = net(adv).float()
        return Outcome(batch.cross_entropy(logits), logits[:0], logits, adv)


@dataclass(frozen=True)
class Paired(Objective):
    """Each image clean and attacked: w CE(clean) + (1 - w) CE(attacked) (Goodfellow et al. 2015).

    PNI is published with w = 0.5. The two kinds take separate passes, so that BatchNorm sees each
    on its own.

    Args:
      clean_weight: w, in [0, 1].

    Raises:
      ValueError: `clean_weight` is outside [0, 1].
    """

    clean_weight: float = 0.5
    extra_passes = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.clean_weight <= 1:
            raise ValueError(f"a clean weight lies in [0, 1], got {self.clean_weight}")

    def attack(self, net: nn.Module, batch: Batch) -> Tensor:
        return batch.attack(net)

    def forward(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        clean, adversarial = net(batch.x).float(), net(adv).float()
        loss = self.clean_weight * batch.cross_entropy(clean)
        loss = loss + (1 - self.clean_weight) * batch.cross_entropy(adversarial)
        return Outcome(loss, clean, adversarial, adv)


@dataclass(frozen=True)
class TRADES(Objective):
    """CE(clean) + beta KL(clean || attacked); the attack ascends that KL (Zhang et al. 2019).

    The attack starts like the lesson's, at a random point of the ball. The authors' code starts
    with Gaussian noise of 0.001: at the image itself the KL has no gradient. Labels are smoothed in
    the cross-entropy.

    Args:
      beta: weight of the KL divergence, 0 or more.

    Raises:
      ValueError: `beta` is negative or not finite.
    """

    beta: float = 6.0
    extra_passes = 1.0

    def __post_init__(self) -> None:
        _check_beta(self.beta)

    def attack(self, net: nn.Module, batch: Batch) -> Tensor:
        return batch.attack(net, replace(batch.lesson.attack, loss="kl"))

    def forward(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        clean, adversarial = net(batch.x).float(), net(adv).float()
        kl = kl_divergence(adversarial, clean.log_softmax(1)).mean()
        return Outcome(batch.cross_entropy(clean) + self.beta * kl, clean, adversarial, adv)


@dataclass(frozen=True)
class MART(Objective):
    """Misclassification-aware training (Wang et al. 2020), with p = softmax.

    The loss is CE(attacked) - log(1.0001 - p(attacked)[best wrong])
    + beta (1 - p(clean)[y]) KL(clean || attacked).

    Of mixed labels, y is the likelier one and p[y] the probability of both, weighted. Labels are
    smoothed in the first term.

    Args:
      beta: weight of the KL divergence, 0 or more.

    Raises:
      ValueError: `beta` is negative or not finite.
    """

    beta: float = 5.0
    extra_passes = 1.0

    def __post_init__(self) -> None:
        _check_beta(self.beta)

    def attack(self, net: nn.Module, batch: Batch) -> Tensor:
        return batch.attack(net)

    def forward(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        clean, adversarial = net(batch.x).float(), net(adv).float()
        labels = batch.y if batch.y.dim() == 2 else F.one_hot(batch.y, clean.shape[1])
        wrong = adversarial.softmax(1).scatter(1, hard_labels(batch.y)[:, None], 0.0).amax(1)
        boosted_ce = batch.cross_entropy(adversarial) - torch.log(1.0001 - wrong).mean()
        doubt = 1 - (labels * clean.softmax(1)).sum(1)
        weighted_kl = (doubt * kl_divergence(adversarial, clean.log_softmax(1))).mean()
        return Outcome(boosted_ce + self.beta * weighted_kl, clean, adversarial, adv)


def _check_beta(beta: float) -> None:
    if not (math.isfinite(beta) and beta >= 0):
        raise ValueError(f"beta is 0 or more, got {beta}")
