"""A curriculum while a net trains: it chooses each epoch's lesson, and may react to the results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import nn

from adv.data.datasets import Split
from adv.training.lesson import Lesson


class TrainingHandle(Protocol):
    """The part of a training that its curriculum may use."""

    @property
    def eval_net(self) -> nn.Module:
        """The net to evaluate: the average of the weights if there is one, else the net itself."""

    def weights(self) -> dict[str, Any]:
        """Return a copy of the state of the net, of its average and of its optimizer."""

    def restore_weights(self, weights: Mapping[str, Any]) -> None:
        """Restore the net, its average and its optimizer from a copy made by `weights`."""


class CurriculumRun(ABC):
    """The lessons of one training.

    Attributes:
      split: the images to train on, of those that were given.
    """

    split: Split

    @property
    @abstractmethod
    def finished(self) -> bool:
        """True if training ends now, although epochs are left."""

    @abstractmethod
    def lesson(self, t: float) -> Lesson:
        """Return the lesson of the epoch that begins at t = elapsed / total epochs."""

    @abstractmethod
    def begin_epoch(self, training: TrainingHandle) -> None:
        """Prepare the next epoch; called before its lesson is asked for."""

    @abstractmethod
    def end_epoch(self, training: TrainingHandle, accuracy: float) -> dict[str, float]:
        """Take note of an epoch's training accuracy under attack, in [0, 1].

        Returns:
          Metrics to log with the epoch.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return all that is needed to resume: plain data and tensors, not copied."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from a `state()`."""


class FixedSchedule(CurriculumRun):
    """Lessons that depend on the elapsed share of the training only: `schedule(t)`."""

    finished = False

    def __init__(self, schedule: Callable[[float], Lesson], split: Split) -> None:
        self.schedule, self.split = schedule, split

    def lesson(self, t: float) -> Lesson:
        return self.schedule(t)

    def begin_epoch(self, training: TrainingHandle) -> None:
        pass

    def end_epoch(self, training: TrainingHandle, accuracy: float) -> dict[str, float]:
        return {}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass
