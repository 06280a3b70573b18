"""What a curriculum is while a net trains: it gives lessons, and may listen to how they went."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import nn

from adv.data.datasets import Split
from adv.training.lesson import Lesson


class Pupil(Protocol):
    """What a course may ask of a training."""

    @property
    def shown(self) -> nn.Module:
        """The net that is trained, or its average."""

    def weights(self) -> dict[str, Any]:
        """A copy of the net, its average and its optimizer."""

    def take(self, weights: Mapping[str, Any]) -> None:
        """Go back to such a copy."""


class Course(ABC):
    """The lessons of one training. `split` is what it trains on."""

    split: Split

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether nothing is left to learn before the epochs are."""

    @abstractmethod
    def lesson(self, t: float) -> Lesson:
        """That of the epoch which begins at t = elapsed / total epochs."""

    @abstractmethod
    def begin(self, pupil: Pupil) -> None:
        """Called before an epoch."""

    @abstractmethod
    def end(self, pupil: Pupil, accuracy: float) -> dict[str, float]:
        """Called after it with the accuracy under its attack; returns figures for the record."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """All that is needed to go on; plain data and tensors, not copied."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""


class Planned(Course):
    """Every lesson is known before the training begins: `plan(t)`."""

    over = False

    def __init__(self, plan: Callable[[float], Lesson], split: Split) -> None:
        self.plan, self.split = plan, split

    def lesson(self, t: float) -> Lesson:
        return self.plan(t)

    def begin(self, pupil: Pupil) -> None:
        pass

    def end(self, pupil: Pupil, accuracy: float) -> dict[str, float]:
        return {}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass
