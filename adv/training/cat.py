"""Curriculum adversarial training as published (Cai, Du, Liu and Song, IJCAI 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from adv.attacks import PGD, Ladder, Linf
from adv.data.datasets import Split
from adv.evaluation.battery import Battery
from adv.evaluation.evaluator import evaluate
from adv.training.curriculum_state import CurriculumRun, TrainingHandle
from adv.training.lesson import Lesson


@dataclass(frozen=True)
class CAT:
    """Lessons k = 0, 1, ..., `most`: each batch in k + 1 parts, attacked by PGD of 0 to k steps.

    A lesson ends when the accuracy on its own batches exceeds `threshold`, and the next begins from
    there. It also ends after `patience` epochs without a better worst case on held-out images
    (correct after each of PGD-0 to PGD-k); then training returns to the best epoch of the lesson,
    weights and optimizer. The last lesson ends only by patience, and the training with it. The
    learning rate is a schedule over the recipe's epochs and ignores lessons; the authors use Adam
    at a constant 1e-4. Not adopted: their quantisation of inputs to 16 levels in evaluation, which
    masks gradients and defends nothing.

    Args:
      eps: radius of the Linf ball.
      most: steps of the last lesson, 0 or more.
      threshold: of the training accuracy, in [0, 1]; 1 is never exceeded.
      patience: epochs, 1 or more.
      held: share of the training images that is held out, the last of the split, in (0, 0.5].

    Raises:
      ValueError: a setting is out of its range.
    """

    eps: float = 0.032
    most: int = 7
    threshold: float = 0.95
    patience: int = 10
    held: float = 0.02

    def __post_init__(self) -> None:
        Linf(self.eps)
        if self.most < 0:
            raise ValueError(f"the last lesson has 0 steps or more, got {self.most}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"an accuracy lies in [0, 1], got {self.threshold}")
        if self.patience < 1:
            raise ValueError(f"patience is 1 epoch or more, got {self.patience}")
        if not 0 < self.held <= 0.5:
            raise ValueError(f"the share held out lies in (0, 0.5], got {self.held}")

    def lesson(self, k: int) -> Lesson:
        """Return lesson k."""
        return Lesson(Ladder(Linf(self.eps), k))

    def lessons(self, epochs: int) -> tuple[Lesson, ...]:
        """Return a lesson for each of so many epochs: always the last, the most expensive one."""
        return (self.lesson(self.most),) * epochs

    def cap_steps(self, steps: int | None) -> CAT:
        """Return the same curriculum with at most `steps` PGD steps, None for no cap."""
        return self if steps is None else replace(self, most=min(self.most, steps))

    def start(self, split: Split) -> CATRun:
        """Return this curriculum as it runs in one training, which holds out some of `split`.

        Raises:
          ValueError: the split is too small to hold out any image.
        """
        return CATRun(self, split)


class CATRun(CurriculumRun):
    """The lesson that a training is in, and the number of epochs without progress."""

    def __init__(self, cat: CAT, split: Split) -> None:
        held = max(1, round(cat.held * len(split)))
        if len(split) < 2 * held:
            raise ValueError(f"{len(split)} images are too few to hold some out")
        self.cat = cat
        self.split, self.held = split.head(len(split) - held), split.tail(held)
        self.k, self.best, self.idle, self.learned = 0, -1.0, 0, False
        self.weights: Mapping[str, Any] = {}

    @property
    def finished(self) -> bool:
        return self.k == self.cat.most and self.idle >= self.cat.patience

    def lesson(self, t: float) -> Lesson:
        return self.cat.lesson(self.k)

    def begin_epoch(self, training: TrainingHandle) -> None:
        out_of_patience = self.idle >= self.cat.patience
        if self.k == self.cat.most or not (self.learned or out_of_patience):
            return
        if not self.learned:
            training.restore_weights(self.weights)
        self.k += 1
        self._keep_best(training, self._worst_case(training.eval_net))

    def end_epoch(self, training: TrainingHandle, accuracy: float) -> dict[str, float]:
        worst = self._worst_case(training.eval_net)
        self.learned = accuracy > self.cat.threshold
        if worst > self.best:
            self._keep_best(training, worst)
        else:
            self.idle += 1
        return {"lesson": float(self.k), "worst_case_accuracy": worst}

    def _keep_best(self, training: TrainingHandle, worst: float) -> None:
        self.best, self.idle, self.weights = worst, 0, training.weights()

    def _worst_case(self, net: nn.Module) -> float:
        """Return the share of held-out images that stay correct under PGD of 0 to k steps."""
        ball = Linf(self.cat.eps)
        attacks = [(f"pgd{k}", PGD(ball, steps=k, pace=2 / k)) for k in range(1, self.k + 1)]
        none = ("none", PGD(Linf(0.0)))
        return evaluate(net, self.held, Battery((none, *attacks), draws=1, votes=10)).worst

    def state(self) -> dict[str, Any]:
        names = ("k", "best", "idle", "learned", "weights")
        return {name: getattr(self, name) for name in names}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
