"""The gradient of a loss with respect to images, and what the loss compares the logits with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from adv.attacks.attack import State
from adv.attacks.losses import LOSSES, Loss, is_correct, loss_target, needs_clean_logits


@dataclass(frozen=True)
class LossAndGrad:
    """The loss [n] at n images, its gradient [n, c, h, w] and the model's logits [n, k]."""

    loss: Tensor
    gradient: Tensor
    logits: Tensor

    def fooled(self, labels: Tensor) -> Tensor:
        """Return [n] booleans: which images are misclassified."""
        return ~is_correct(self.logits, labels)


def loss_and_grad(model: nn.Module, x: Tensor, target: Tensor, loss: Loss = "ce") -> LossAndGrad:
    """Return a loss at the images `x` and its gradient with respect to the images only.

    The losses are summed, not averaged, so that an image's gradient does not depend on its batch.
    The gradient may contain NaN, which `Ball.ascend` treats as 0.

    Args:
      model: maps images to logits [n, k].
      x: [n, c, h, w] images.
      target: what the loss compares the logits with, see `adv.attacks.losses`.
      loss: name of the loss.

    Raises:
      ValueError: the output of the model does not depend differentiably on the images.
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(x).float()
        losses = LOSSES[loss](logits, target)
        if not losses.requires_grad:
            raise ValueError("the net passes no gradient to its images: use Square or NES")
        (gradient,) = torch.autograd.grad(losses.sum(), x)
    return LossAndGrad(losses.detach(), gradient, logits.detach())


def with_loss_target(
    model: nn.Module, state: State, loss: Loss, target: int | None = None
) -> State:
    """Return the state with the `loss_target` of this loss.

    The model is queried at the clean images if the loss needs its prediction there.
    """
    if not needs_clean_logits(loss):
        return state
    with torch.no_grad():
        clean = model(state.clean).float()
    return replace(state, loss_target=loss_target(loss, state.labels, clean, target))
