"""What a defence is: a value that turns a net into a defended one."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn


class Defence(ABC):
    """Settings of a defence. Called with a net, it changes it in place and returns it."""

    @abstractmethod
    def __call__(self, net: nn.Module) -> nn.Module:
        """The defended net."""

    def figures(self, net: nn.Module) -> dict[str, float]:
        """What a defended net has to say of this defence after an epoch of training, by name."""
        return {}
