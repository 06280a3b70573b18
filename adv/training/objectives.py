"""What one update minimises: objectives are values, and the attack is their argument.

An objective attacks the images of a batch (the net in evaluation mode, see `frozen`), and leaves
the gradient of its loss, taken in training mode, in the weights. Losses are taken in float32.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adv.attacks import Attack
from adv.attacks.losses import hard_labels, kl_divergence
from adv.training.lesson import Lesson

Drive = Callable[[Attack, Tensor, Tensor, torch.Generator], Tensor]
"""How an attack on the net that is trained is run, where it is not simply called."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The images of one update, and what they are to go through.

    Args:
      x: [n, c, h, w] float in [0, 1].
      y: [n] labels, or [n, k] their probabilities (mixed images).
      lesson: the attack, and the share of the images that `Mixed` attacks.
      elapsed: share of the training that is over, in [0, 1].
      smoothing: of the labels in each cross-entropy, in [0, 1].
      generator: on the CPU, for the attack's starts.
      drive: runs the attack (`adv.training.cuda_graphs.replay_attack`, say); None: it is called.
    """

    x: Tensor
    y: Tensor
    lesson: Lesson
    elapsed: float = 0.0
    smoothing: float = 0.0
    generator: torch.Generator | None = None
    drive: Drive | None = None

    def attacked(self, net: nn.Module, attack: Attack | None = None) -> Tensor:
        """All of the images under the lesson's attack, or another."""
        return self.under(net, attack or self.lesson.attack, len(self.x))

    def under(self, net: nn.Module, attack: Attack, n: int) -> Tensor:
        """The first `n` images under an attack."""
        if not n:
            return self.x[:0]
        if self.drive is not None and self.generator is not None:
            return self.drive(attack, self.x[:n], self.y[:n], self.generator)
        return attack(net, self.x[:n], self.y[:n], generator=self.generator)

    def surprise(self, logits: Tensor) -> Tensor:
        """The mean cross-entropy of logits at these images."""
        return F.cross_entropy(logits, self.y, label_smoothing=self.smoothing)


@dataclass(frozen=True, eq=False)
class Outcome:
    """The loss, a mean over the batch, and the logits at clean [m, k] and attacked `images`.

    `clean` belongs to the last m images of the batch, `adv` to the first: together all of them
    (`Mixed`), or both all of them.
    """

    loss: Tensor
    clean: Tensor
    adv: Tensor
    images: Tensor

    def hits(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Which clean images [m], and which attacked ones, are right."""
        true = hard_labels(y)
        clean, adv = self.clean.detach().argmax(1), self.adv.detach().argmax(1)
        return clean == true[len(true) - len(clean) :], adv == true[: len(adv)]


class Objective(ABC):
    """Settings of what training minimises."""

    extra: float = 0.0
    """Passes forward and backward beside the attack's and those at the attacked images."""

    @abstractmethod
    def attacked(self, net: nn.Module, batch: Batch) -> Tensor:
        """The first images of the batch, attacked: of which net, and how, is the objective's."""

    @abstractmethod
    def outcome(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        """The loss, for `adv` from `attacked`."""

    def __call__(self, net: nn.Module, batch: Batch) -> Outcome:
        """Attack the batch and add the gradient of the loss to the weights' own."""
        return self.learn(net, batch, self.attacked(net, batch))

    def learn(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        """Add the gradient of the loss, for `adv` from `attacked`, to the weights' own."""
        outcome = self.outcome(net, batch, adv)
        outcome.loss.backward()
        return outcome

    def phase(self, elapsed: float) -> int:
        """A number that changes where, within a training, `learn` begins to do something else."""
        return 0

    def share(self, lesson: Lesson) -> float:
        """Which share of a batch is attacked."""
        return 1.0

    def passes(self, lesson: Lesson) -> float:
        """Passes forward and backward of one update, relative to one over the batch."""
        return self.share(lesson) * lesson.passes + 1 + self.extra


@dataclass(frozen=True)
class Mixed(Objective):
    """The mean cross-entropy of a batch whose first images, the lesson's fraction, are attacked."""

    def attacked(self, net: nn.Module, batch: Batch) -> Tensor:
        return batch.under(net, batch.lesson.attack, round(self.share(batch.lesson) * len(batch.x)))

    def outcome(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        logits = net(torch.cat([adv, batch.x[len(adv) :]])).float()
        return Outcome(batch.surprise(logits), logits[len(adv) :], logits[: len(adv)], adv)

    def share(self, lesson: Lesson) -> float:
        return lesson.fraction


@dataclass(frozen=True)
class Madry(Objective):
    """The cross-entropy at attacked images alone (Madry et al. 2018, eq. 2.1)."""

    def attacked(self, net: nn.Module, batch: Batch) -> Tensor:
        return batch.attacked(net)

    def outcome(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        logits = net(adv).float()
        return Outcome(batch.surprise(logits), logits[:0], logits, adv)


@dataclass(frozen=True)
class Paired(Objective):
    """Each image clean and attacked: w CE(clean) + (1 - w) CE(attacked) (Goodfellow et al. 2015).

    PNI is published with w = 0.5. Two passes, so BatchNorm meets the two kinds one by one.

    Raises:
      ValueError: `clean_weight` is outside [0, 1].
    """

    clean_weight: float = 0.5
    extra = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.clean_weight <= 1:
            raise ValueError(f"a clean weight lies in [0, 1], got {self.clean_weight}")

    def attacked(self, net: nn.Module, batch: Batch) -> Tensor:
        return batch.attacked(net)

    def outcome(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        clean, bad = net(batch.x).float(), net(adv).float()
        loss = self.clean_weight * batch.surprise(clean)
        return Outcome(loss + (1 - self.clean_weight) * batch.surprise(bad), clean, bad, adv)


@dataclass(frozen=True)
class TRADES(Objective):
    """CE(clean) + beta KL(clean || attacked), the attack ascending that KL (Zhang et al. 2019).

    The attack starts where the lesson's does, at a random point of the ball; the authors' code
    adds Gaussian noise of 0.001, just enough, for at the image itself the KL has no gradient.
    Smoothing is of the cross-entropy.

    Raises:
      ValueError: `beta` is negative or not finite.
    """

    beta: float = 6.0
    extra = 1.0

    def __post_init__(self) -> None:
        _check_beta(self.beta)

    def attacked(self, net: nn.Module, batch: Batch) -> Tensor:
        return batch.attacked(net, replace(batch.lesson.attack, loss="kl"))

    def outcome(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        clean, bad = net(batch.x).float(), net(adv).float()
        apart = kl_divergence(bad, clean.log_softmax(1)).mean()
        return Outcome(batch.surprise(clean) + self.beta * apart, clean, bad, adv)


@dataclass(frozen=True)
class MART(Objective):
    """Misclassification-aware training (Wang et al. 2020), with p = softmax:

        CE(attacked) - log(1.0001 - p(attacked)[best wrong])
          + beta (1 - p(clean)[y]) KL(clean || attacked)

    Of mixed labels, y is the likelier, and p[y] their probability. Smoothing is of the first term.

    Raises:
      ValueError: `beta` is negative or not finite.
    """

    beta: float = 5.0
    extra = 1.0

    def __post_init__(self) -> None:
        _check_beta(self.beta)

    def attacked(self, net: nn.Module, batch: Batch) -> Tensor:
        return batch.attacked(net)

    def outcome(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        clean, bad = net(batch.x).float(), net(adv).float()
        share = batch.y if batch.y.dim() == 2 else F.one_hot(batch.y, clean.shape[1])
        wrong = bad.softmax(1).scatter(1, hard_labels(batch.y)[:, None], 0.0).amax(1)
        boosted = batch.surprise(bad) - torch.log(1.0001 - wrong).mean()
        doubt = 1 - (share * clean.softmax(1)).sum(1)
        apart = (doubt * kl_divergence(bad, clean.log_softmax(1))).mean()
        return Outcome(boosted + self.beta * apart, clean, bad, adv)


def _check_beta(beta: float) -> None:
    if not (math.isfinite(beta) and beta >= 0):
        raise ValueError(f"beta is 0 or more, got {beta}")
