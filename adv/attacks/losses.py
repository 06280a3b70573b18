"""Losses that attacks maximise, one value per image.

A loss compares the logits of an image with its label, or with what `loss_target` returns; it
is large where the net is wrong. The cross-entropy saturates on confident nets, whose gradients
underflow; differences of logits do not, and DLR does not change when the logits are rescaled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from adv.suggestions import suggest

Loss = Literal["ce", "kl", "margin", "dlr", "dlr-targeted"]

TINY = 1e-12


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy [n] with classes [n] or probabilities [n, k]."""
    return F.cross_entropy(logits, labels, reduction="none")


def kl_divergence(logits: Tensor, clean: Tensor) -> Tensor:
    """Return the divergence KL(clean || adversarial), [n]; TRADES maximises it.

    Zhang et al. 2019, eq. 5. `clean` are log-probabilities [n, k].
    """
    return F.kl_div(logits.log_softmax(1), clean, reduction="none", log_target=True).sum(1)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the largest wrong logit minus the right one, [n] (Carlini and Wagner 2017, f6).

    It is above 0 where the net is wrong. Labels are classes [n], or probabilities [n, k], of which
    the largest counts.
    """
    _require_classes("margin", logits)
    top = logits.topk(2, 1)
    return _margin_of_top(logits, hard_labels(labels), top.values, top.indices)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the difference of logits ratio, [n]: margin / (first - third logit).

    Croce and Hein 2020, eq. 6.

    Raises:
      ValueError: fewer than three classes.
    """
    _require_classes("dlr", logits)
    top = logits.topk(3, 1)
    spread = top.values[:, 0] - top.values[:, 2]
    return _margin_of_top(logits, hard_labels(labels), top.values, top.indices) / (spread + TINY)


def dlr_targeted(logits: Tensor, pair: Tensor) -> Tensor:
    """Return the targeted DLR, [n]: (target - right) / (first - mean of third and fourth logit).

    Croce and Hein 2020, eq. 7. `pair` [n, 2] holds the right class and the target class.

    Raises:
      ValueError: fewer than four classes.
    """
    _require_classes("dlr-targeted", logits)
    top = logits.topk(4, 1).values
    right, target = logits.gather(1, pair).unbind(1)
    return (target - right) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + TINY)


LOSSES: Mapping[Loss, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": cross_entropy,
    "kl": kl_divergence,
    "margin": margin,
    "dlr": dlr,
    "dlr-targeted": dlr_targeted,
}


MIN_CLASSES: Mapping[Loss, int] = {"margin": 2, "dlr": 3, "dlr-targeted": 4}


def loss_supports(loss: Loss, target: int | None, classes: int) -> bool:
    """Return whether a loss and its target are defined for a net with this many classes."""
    return classes >= max(MIN_CLASSES.get(loss, 1), 1 + (target or 0))


def needs_clean_logits(loss: Loss) -> bool:
    """Return whether `loss_target` depends on the model's logits at the clean images."""
    return loss in ("kl", "dlr-targeted")


def loss_target(loss: Loss, labels: Tensor, clean: Tensor, target: int | None) -> Tensor:
    """Return what a loss compares the logits with, if it depends on the clean logits.

    Args:
      loss: "kl" (log-probabilities [n, k]) or "dlr-targeted" (right and target class [n, 2]).
      labels: [n] classes, or [n, k] probabilities.
      clean: [n, k] logits at the clean images.
      target: k for the k-th most likely wrong class; None: the first.

    Raises:
      ValueError: there are fewer than k wrong classes.
    """
    if loss == "kl":
        return clean.log_softmax(1)
    wrong, nth = clean.shape[1] - 1, target or 1
    if nth > wrong:
        raise ValueError(
            f"target {nth} is not possible: a net with {wrong + 1} classes has {wrong} wrong ones"
        )
    right = hard_labels(labels)
    others = clean.scatter(1, right[:, None], -torch.inf)
    return torch.stack([right, others.argsort(1, descending=True)[:, nth - 1]], 1)


def hard_labels(labels: Tensor) -> Tensor:
    """Return classes [n]: those given, or the most likely ones of probabilities [n, k]."""
    return labels.argmax(1) if labels.dim() == 2 else labels


def is_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return [n] booleans: which images are classified correctly; a row with NaN is not.

    (`argmax` of a row with NaN is the NaN's index, which could be the right class by chance.)
    """
    return (logits.argmax(1) == hard_labels(labels)) & ~logits.isnan().any(1)


def check_loss(name: str, target: int | None = None) -> None:
    """Raise ValueError unless there is such a loss and it takes such a target."""
    if name not in get_args(Loss):
        near = suggest(str(name), get_args(Loss))
        raise ValueError(f"a loss is one of {', '.join(get_args(Loss))}, got {name!r}{near}")
    if target is not None and name != "dlr-targeted":
        raise ValueError(f"the loss {name!r} has no target: take 'dlr-targeted'")
    if target is not None and target < 1:
        raise ValueError(f"target is 1 (the likeliest wrong class) or more, got {target}")


def _margin_of_top(logits: Tensor, right: Tensor, values: Tensor, classes: Tensor) -> Tensor:
    """Return the margin [n]; `values` and `classes` are those of the two or more top logits."""
    is_first = classes[:, 0] == right
    wrong = torch.where(is_first, values[:, 1], values[:, 0])
    return wrong - logits.gather(1, right[:, None])[:, 0]


def _require_classes(loss: Loss, logits: Tensor) -> None:
    """Raise ValueError if the net has too few classes for the loss."""
    if logits.shape[1] < MIN_CLASSES[loss]:
        raise ValueError(
            f"{loss} needs {MIN_CLASSES[loss]} classes or more, the net has {logits.shape[1]}"
        )
