"""The gradient of a loss with respect to images, and what the loss compares the logits with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from adv.attacks.attack import State
from adv.attacks.losses import (
    LOSSES,
    Loss,
    TargetClass,
    is_correct,
    loss_target,
    needs_clean_logits,
)


@dataclass(frozen=True)
class LossAndGrad:
    """The loss [n] at n images, its gradient [n, c, h, w] and the model's logits [n, k]."""

    loss: Tensor
    gradient: Tensor
    logits: Tensor

    def fooled(self, labels: Tensor) -> Tensor:
        """Return [n] booleans: which images are misclassified."""
        return ~is_correct(self.logits, labels)


def loss_and_grad(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    loss: Loss | Callable[[Tensor, Tensor], Tensor] = "ce",
) -> LossAndGrad:
    """Return a loss at the images `x` and its gradient with respect to the images only.

    The losses are summed, not averaged, so that an image's gradient does not depend on its batch.
    The gradient may contain NaN, which `Ball.ascend` treats as 0.

    Args:
      model: maps images to logits [n, k].
      x: [n, c, h, w] images.
      target: what the loss compares the logits with, see `adv.attacks.losses`.
      loss: name of the loss, or a function like those of `adv.attacks.losses`.

    Raises:
      ValueError: the output of the model does not depend differentiably on the images.
    """
    if torch.is_inference_mode_enabled() or x.is_inference() or target.is_inference():
        # Autograd neither runs in inference mode nor saves its tensors.
        with torch.inference_mode(False):
            return loss_and_grad(model, x.clone(), target.clone(), loss)
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        try:
            logits = model(x).float()
        except Exception as error:
            if _works_without_gradient(model, x):
                raise no_gradient(error) from error
            raise
        losses = (LOSSES[loss] if isinstance(loss, str) else loss)(logits, target)
        if not losses.requires_grad:
            raise no_gradient()
        (gradient,) = torch.autograd.grad(losses.sum(), x, allow_unused=True)
        if gradient is None:  # the losses depend on the weights only
            raise no_gradient()
    return LossAndGrad(losses.detach(), gradient, logits.detach())


def _works_without_gradient(model: nn.Module, x: Tensor) -> bool:
    """Return whether the model fails on images only because they require a gradient."""
    if x.is_cuda and torch.cuda.is_current_stream_capturing():
        return False  # a capture that has failed can only be reported
    try:
        with torch.no_grad():
            model(x.detach())
    except Exception:
        return False
    return True


def no_gradient(error: Exception | None = None) -> ValueError:
    """Return the error of a net that passes no gradient to its images."""
    reason = (
        "" if error is None else f" ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
    )
    return ValueError(
        "the net passes no gradient to its images: use Square or NES, attacks that need none"
        f"{reason[:200]}"
    )


def with_loss_target(
    model: nn.Module,
    state: State,
    loss: Loss,
    target: int | None = None,
    target_class: TargetClass | None = None,
) -> State:
    """Return the state with the `loss_target` of this loss.

    The model is queried at the clean images if the loss needs its prediction there.
    """
    if not needs_clean_logits(loss):
        return state
    with torch.no_grad():
        clean = model(state.clean).float()
    aim = loss_target(loss, state.labels, clean, target, target_class)
    return replace(state, loss_target=aim)
