"""Objectives of robust distillation: ARD and RSLAD.

The net in training, the student, imitates the teacher's answers to clean images, also where it is
attacked. KL(a || b) is the mean over images of the sum over classes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from adv.attacks.losses import kl_divergence
from adv.data.datasets import Split
from adv.distillation.teacher import check_teacher, load_teacher, read_digest, to_tensor
from adv.training.lesson import Lesson
from adv.training.objective import Batch, Objective, Outcome


class Distillation(Objective):
    """An objective with a teacher, whose file must not change while a training lasts."""

    teacher: str | Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "teacher", os.fspath(self.teacher))  # one repr for both kinds

    def memory(self, data: Split, classes: int) -> dict[str, Tensor]:
        """Return the digest of the teacher's file.

        Raises:
          ValueError: the file is no checkpoint, or its net does not fit the data.
        """
        path = str(self.teacher)
        digest = read_digest(path)
        check_teacher(path, load_teacher(path, digest, data.labels.device), data, classes)
        return {"teacher": to_tensor(digest)}

    def restore_memory(self, memory: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
        if not torch.equal(memory["teacher"], saved["teacher"]):
            raise ValueError(f"{self.teacher} is not the teacher that this training began with")

    def teacher_of(self, batch: Batch) -> nn.Module:
        """Return the teacher, on the device of a batch."""
        digest = bytes(batch.recall("teacher").tolist())
        return load_teacher(str(self.teacher), digest, batch.x.device)

    def ask_teacher(self, batch: Batch, images: Tensor | None = None) -> Tensor:
        """Return the teacher's logits of images, by default the clean ones, [n, k]."""
        with torch.no_grad():
            logits: Tensor = self.teacher_of(batch)(batch.x if images is None else images)
        return logits.float()


@dataclass(frozen=True)
class ARD(Distillation):
    """Adversarially robust distillation (Goldblum et al. 2020).

    The loss is a t^2 KL(T(x) / t || S(x') / t) + (1 - a) CE(S(x), y), where T and S are softmaxes
    of logits divided by the temperature t, and x' comes from the lesson's attack on the student.

    Args:
      teacher: path of a checkpoint.
      alpha: a, in [0, 1]; published: 1, so that no label is used.
      temperature: t, above 0; published: 30.

    Raises:
      ValueError: a setting is out of its range. The file is not opened before training.
    """

    teacher: str | Path
    alpha: float = 1.0
    temperature: float = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha lies in [0, 1], got {self.alpha}")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"a temperature is a number above 0, got {self.temperature}")

    def attack(self, net: nn.Module, batch: Batch) -> Tensor:
        return batch.attack(net)

    def forward(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        t = self.temperature
        taught = (self.ask_teacher(batch) / t).log_softmax(1)
        adversarial = net(adv).float()
        loss = self.alpha * t**2 * kl_divergence(adversarial / t, taught).mean()
        if self.alpha == 1:
            return Outcome(loss, adversarial[:0], adversarial, adv)
        clean = net(batch.x).float()
        loss = loss + (1 - self.alpha) * batch.cross_entropy(clean)
        return Outcome(loss, clean, adversarial, adv)

    def passes(self, lesson: Lesson) -> float:
        return super().passes(lesson) + (self.alpha < 1)


@dataclass(frozen=True)
class RSLAD(Distillation):
    """Robust soft label distillation: w KL(T(x) || S(x')) + (1 - w) KL(T(x) || S(x)).

    Zi et al. 2021. No label is used: the lesson's attack, too, raises KL(T(x) || S(x')). It starts
    as the lesson does; the authors' starts with Gaussian noise of 0.001. Their code averages over
    classes as well, so that its loss is smaller by their number.

    Args:
      teacher: path of a checkpoint.
      attacked: w, in [0, 1]; published: 5/6.

    Raises:
      ValueError: `attacked` is outside [0, 1]. The file is not opened before training.
    """

    teacher: str | Path
    attacked: float = 5 / 6
    extra_passes = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.attacked <= 1:
            raise ValueError(f"the weight of attacked images lies in [0, 1], got {self.attacked}")

    def attack(self, net: nn.Module, batch: Batch) -> Tensor:
        """Attack the cross-entropy with the teacher's probabilities: the KL but for a constant."""
        return replace(batch, y=self.ask_teacher(batch).softmax(1)).attack(net)

    def forward(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        taught = self.ask_teacher(batch).log_softmax(1)
        clean, adversarial = net(batch.x).float(), net(adv).float()
        loss = self.attacked * kl_divergence(adversarial, taught).mean()
        loss = loss + (1 - self.attacked) * kl_divergence(clean, taught).mean()
        return Outcome(loss, clean, adversarial, adv)
