"""Losses that attacks maximise, one value per image.

A loss compares the logits of an image with its label, or with what `loss_target` returns; it
is large where the net is wrong. The cross-entropy saturates on confident nets, whose gradients
underflow; differences of logits do not, and DLR does not change when the logits are rescaled. A
targeted loss is large where the net says a certain wrong class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from adv.suggestions import suggest

# fmt: off
Loss = Literal[
    "ce", "kl", "margin", "dlr", "dlr-targeted", "ce-targeted", "margin-targeted", "mifpe",
    "probability-margin",
]
# fmt: on
TargetClass = int | Literal["least-likely"]

TARGETED_FORMS: Mapping[Loss, Loss] = {
    "ce": "ce-targeted",
    "margin": "margin-targeted",
    "dlr": "dlr-targeted",
}

TINY = 1e-12
LEAST_GAP = 1e-3  # of the two largest logits in "mifpe", relative to the spread of all of them


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


def cross_entropy_targeted(logits: Tensor, target: Tensor) -> Tensor:
    """Return the log-probability of the target class, [n].

    `target` [n] is that class, or the second of the pairs [n, 2] of `dlr_targeted`.
    """
    return -cross_entropy(logits, _second(target))


def margin_targeted(logits: Tensor, target: Tensor) -> Tensor:
    """Return the target logit minus the largest other one, [n]: above 0 where the net says it.

    As long as the net is right, the largest other logit is the right one. `target` is that of
    `cross_entropy_targeted`.
    """
    return -margin(logits, _second(target))


def normalized_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy [n] of logits whose two largest stand 1 apart (MIFPE).

    Yu and Xu 2023. The scale of an image is a constant to its gradient, which therefore neither
    underflows on confident nets nor depends on how loud the logits are. The value says little: do
    not compare it between images of one attack.
    """
    _require_classes("mifpe", logits)
    now = logits.detach()
    first, second = now.topk(2, 1).values.split(1, 1)
    gap = (first - second).maximum(LEAST_GAP * (first - now.amin(1, keepdim=True)))
    return cross_entropy((logits - first) / (gap + TINY), labels)


def probability_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the largest probability of a wrong class minus that of the right one, [n].

    arXiv 2411.15210, whose attack is `adv.attacks.PMA`.
    """
    right, wrong = right_and_wrong(logits, labels)
    return wrong - right


def right_and_wrong(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probabilities [n] of the right and of the likeliest wrong class."""
    _require_classes("probability-margin", logits)
    probabilities, right = logits.softmax(1), hard_labels(labels)[:, None]
    return probabilities.gather(1, right)[:, 0], probabilities.scatter(1, right, -1.0).amax(1)


LOSSES: Mapping[Loss, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": cross_entropy,
    "kl": kl_divergence,
    "margin": margin,
    "dlr": dlr,
    "dlr-targeted": dlr_targeted,
    "ce-targeted": cross_entropy_targeted,
    "margin-targeted": margin_targeted,
    "mifpe": normalized_cross_entropy,
    "probability-margin": probability_margin,
}


MIN_CLASSES: Mapping[Loss, int] = {
    "margin": 2,
    "dlr": 3,
    "dlr-targeted": 4,
    "ce-targeted": 2,
    "margin-targeted": 2,
    "mifpe": 2,
    "probability-margin": 2,
}


def is_targeted(loss: str) -> bool:
    """Return whether a loss aims at one wrong class."""
    return loss in TARGETED_FORMS.values()


def loss_supports(
    loss: Loss, target: int | None, classes: int, target_class: TargetClass | None = None
) -> bool:
    """Return whether a loss and its target are defined for a net with this many classes."""
    exists = not isinstance(target_class, int) or target_class < classes
    return exists and classes >= max(MIN_CLASSES.get(loss, 1), 1 + (target or 0))


def needs_clean_logits(loss: Loss) -> bool:
    """Return whether `loss_target` depends on the model's logits at the clean images."""
    return loss == "kl" or is_targeted(loss)


def loss_target(
    loss: Loss,
    labels: Tensor,
    clean: Tensor,
    target: int | None,
    target_class: TargetClass | None = None,
) -> Tensor:
    """Return what a loss compares the logits with, if it depends on the clean logits.

    Args:
      loss: "kl" (log-probabilities [n, k]) or a targeted one (right and target class [n, 2]).
      labels: [n] classes, or [n, k] probabilities.
      clean: [n, k] logits at the clean images.
      target: k for the k-th most likely wrong class; None: the first.
      target_class: a class, or "least-likely"; None: see `target`. Images of that class itself get
        the most likely wrong class as their target.

    Raises:
      ValueError: there are fewer than k wrong classes, or there is no such class.
    """
    if loss == "kl":
        return clean.log_softmax(1)
    classes = clean.shape[1]
    nth = classes - 1 if target_class == "least-likely" else target or 1
    if not 1 <= nth < classes:
        raise ValueError(
            f"target {nth} is not possible: a net with {classes} classes has {classes - 1} "
            "wrong ones"
        )
    right = hard_labels(labels)
    others = clean.scatter(1, right[:, None], -torch.inf)
    aim = others.argsort(1, descending=True)[:, nth - 1]
    if isinstance(target_class, int):
        if target_class >= classes:
            raise ValueError(f"target_class is 0 to {classes - 1}, got {target_class}")
        aim = torch.where(right == target_class, aim, target_class)
    return torch.stack([right, aim], 1)


def hard_labels(labels: Tensor) -> Tensor:
    """Return classes [n]: those given, or the most likely ones of probabilities [n, k]."""
    return labels.argmax(1) if labels.dim() == 2 else labels


def is_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return [n] booleans: which images are classified correctly; a row with NaN is not.

    (`argmax` of a row with NaN is the NaN's index, which could be the right class by chance.)
    """
    return (logits.argmax(1) == hard_labels(labels)) & ~logits.isnan().any(1)


def check_loss(
    name: str, target: int | None = None, target_class: TargetClass | None = None
) -> None:
    """Raise ValueError unless there is such a loss and it takes such a target."""
    if name not in get_args(Loss):
        near = suggest(str(name), get_args(Loss))
        raise ValueError(f"a loss is one of {', '.join(get_args(Loss))}, got {name!r}{near}")
    if (target is not None or target_class is not None) and not is_targeted(name):
        *some, last = (repr(loss) for loss in TARGETED_FORMS.values())
        raise ValueError(f"the loss {name!r} has no target: take {', '.join(some)} or {last}")
    if target is not None and target_class is not None:
        raise ValueError("target, a rank, and target_class exclude each other: give one of them")
    if target is not None and target < 1:
        raise ValueError(f"target is 1 (the likeliest wrong class) or more, got {target}")
    if target_class not in (None, "least-likely") and not (
        isinstance(target_class, int) and target_class >= 0
    ):
        raise ValueError(
            f"target_class is a class from 0 on or 'least-likely', got {target_class!r}"
        )


def _second(target: Tensor) -> Tensor:
    return target if target.dim() == 1 else target[:, 1]


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
