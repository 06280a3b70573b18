"""Training objectives: each attacks a batch, and minimises a loss on the images it gets.

An objective attacks the images of a batch with the net in evaluation mode (see `frozen`), and
leaves the gradient of its loss, taken in training mode, in the weights. Losses are float32.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adv.attacks import Attack
from adv.attacks.losses import hard_labels
from adv.data.datasets import Split
from adv.training.lesson import Lesson

Drive = Callable[[Attack, Tensor, Tensor, torch.Generator], Tensor]
"""Runs an attack on the net in training: attack, images, labels and generator to the result."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The images of one update, with all that an objective needs to attack them.

    Args:
      x: [n, c, h, w] float in [0, 1].
      y: [n] labels, or [n, k] probabilities (mixed images).
      lesson: the attack, and the share of the images that `Mixed` attacks.
      elapsed: share of the training that is over, in [0, 1].
      smoothing: label smoothing in each cross-entropy, in [0, 1].
      generator: on the CPU, for the attack's starts.
      drive: runs the attack, e.g. `adv.training.cuda_graphs.replay_attack`; None: it is called.
      number: which update of the epoch this is, from 0.
      indices: [n] of the images in the training split, for an objective with a memory.
      memory: the tensors that `Objective.memory` made, which the objective's attack changes.
      term_weight: what `Objective.term_weight` returned, as a tensor that a captured graph reads;
        None: the objective is asked.
    """

    x: Tensor
    y: Tensor
    lesson: Lesson
    elapsed: float = 0.0
    smoothing: float = 0.0
    generator: torch.Generator | None = None
    drive: Drive | None = None
    number: int = 0
    indices: Tensor | None = None
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    term_weight: Tensor | None = None

    def recall(self, name: str) -> Tensor:
        """Return a tensor of the objective's memory.

        Raises:
          ValueError: the batch was made without that memory.
        """
        if name not in self.memory:
            raise ValueError(
                "this objective has a memory: Batch(..., indices=indices, memory=memory) with "
                "memory = objective.memory(split, classes), made once for a training"
            )
        return self.memory[name]

    def attack(self, net: nn.Module, attack: Attack | None = None) -> Tensor:
        """Return all images after the lesson's attack, or after another one."""
        return self.attack_first(net, attack or self.lesson.attack, len(self.x))

    def attack_first(self, net: nn.Module, attack: Attack, n: int) -> Tensor:
        """Return the first `n` images after an attack."""
        if not n:
            return self.x[:0]
        if self.drive is not None and self.generator is not None:
            return self.drive(attack, self.x[:n], self.y[:n], self.generator)
        return attack(net, self.x[:n], self.y[:n], generator=self.generator)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits [n, k] and the labels, smoothed."""
        return F.cross_entropy(logits, self.y, label_smoothing=self.smoothing)


@dataclass(frozen=True, eq=False)
class Outcome:
    """The loss of a batch, and the logits it was computed from.

    `clean` belongs to the last m images of the batch, `adv` to the first: together they are all
    images (`Mixed`), or each of them is.

    Args:
      loss: a mean over the batch.
      clean: logits of clean images [m, k].
      adv: logits of attacked images.
      images: the attacked images.
    """

    loss: Tensor
    clean: Tensor
    adv: Tensor
    images: Tensor

    def correct(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return which clean images [m], and which attacked ones, are classified correctly."""
        true = hard_labels(y)
        clean, adv = self.clean.detach().argmax(1), self.adv.detach().argmax(1)
        return clean == true[len(true) - len(clean) :], adv == true[: len(adv)]


class Objective(ABC):
    """A training objective: which images are attacked, and the loss to minimise."""

    extra_passes: float = 0.0
    """Passes forward and backward besides those of the attack and on the attacked images."""

    @abstractmethod
    def attack(self, net: nn.Module, batch: Batch) -> Tensor:
        """Attack the first images of the batch, as many as the objective wants; return them."""

    @abstractmethod
    def forward(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        """Compute the loss, given the images `adv` that `attack` returned."""

    def __call__(self, net: nn.Module, batch: Batch) -> Outcome:
        """Attack the batch, and add the gradient of the loss to that of the weights."""
        return self.backward(net, batch, self.attack(net, batch))

    def backward(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        """Compute the loss for `adv` from `attack`, and add its gradient to that of the weights."""
        outcome = self.forward(net, batch, adv)
        outcome.loss.backward()
        return outcome

    def phase(self, elapsed: float) -> int | None:
        """Return a number that changes where `backward` starts to compute something else.

        A gradient that was captured as a CUDA graph is replayed within one phase only. None: it
        cannot be captured, because something in it waits for the GPU.
        """
        return 0

    def term_weight(self, elapsed: float) -> float:
        """Return the weight of the loss's second term, given the share of the training over."""
        return 0.0

    def term_weight_at(self, batch: Batch) -> float | Tensor:
        """Return the weight of the loss's second term for a batch."""
        return self.term_weight(batch.elapsed) if batch.term_weight is None else batch.term_weight

    def memory(self, data: Split, classes: int) -> dict[str, Tensor]:
        """Return the tensors that the objective keeps from one update to the next.

        They are part of the state of a training, which resumes from them bit for bit.

        Args:
          data: the training images, on the device of the training.
          classes: number of classes.
        """
        return {}

    def restore_memory(self, memory: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
        """Copy what was saved to the tensors of a memory."""
        for name, tensor in memory.items():
            tensor.copy_(saved[name])

    def remembers_images(self) -> bool:
        """Return whether the memory has a row for each training image."""
        return False

    def attacked_share(self, lesson: Lesson) -> float:
        """Return the share of a batch that is attacked, in [0, 1]."""
        return 1.0

    def passes(self, lesson: Lesson) -> float:
        """Return how many passes forward and backward over the batch one update takes."""
        return self.attacked_share(lesson) * lesson.passes + 1 + self.extra_passes
