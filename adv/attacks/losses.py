"""What an attack ascends: a loss of each image, from its logits and what they are compared with.

Each is large where the net is wrong. The cross-entropy saturates on confident nets, whose gradients
underflow; differences of logits do not, and DLR is the same however the logits are scaled.
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
    """Of classes [n], or of probabilities [n, k]; [n]."""
    return F.cross_entropy(logits, labels, reduction="none")


def divergence(logits: Tensor, clean: Tensor) -> Tensor:
    """Kullback and Leibler's, of the model from its log-probabilities `clean` [n, k]; [n].

    KL(clean || here), what TRADES ascends (Zhang et al. 2019, eq. 5).
    """
    return F.kl_div(logits.log_softmax(1), clean, reduction="none", log_target=True).sum(1)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The largest wrong logit above the right one (Carlini and Wagner 2017, f6); [n].

    Above 0 is a mistake. Labels are classes [n], or probabilities [n, k] for their largest.
    """
    _need("margin", logits)
    top = logits.topk(2, 1)
    return _lead(logits, hard(labels), top.values, top.indices)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio (Croce and Hein 2020, eq. 6): margin / (first - third logit); [n].

    Raises:
      ValueError: fewer than three classes.
    """
    _need("dlr", logits)
    top = logits.topk(3, 1)
    spread = top.values[:, 0] - top.values[:, 2]
    return _lead(logits, hard(labels), top.values, top.indices) / (spread + TINY)


def dlr_targeted(logits: Tensor, pair: Tensor) -> Tensor:
    """The targeted kind (eq. 7): (target - right) / (first - mean of third and fourth); [n].

    `pair` [n, 2] holds the right class and the one that it shall be taken for.

    Raises:
      ValueError: fewer than four classes.
    """
    _need("dlr-targeted", logits)
    top = logits.topk(4, 1).values
    right, target = logits.gather(1, pair).unbind(1)
    return (target - right) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + TINY)


LOSSES: Mapping[Loss, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": cross_entropy,
    "kl": divergence,
    "margin": margin,
    "dlr": dlr,
    "dlr-targeted": dlr_targeted,
}


NEEDED: Mapping[Loss, int] = {"margin": 2, "dlr": 3, "dlr-targeted": 4}


def suited(loss: Loss, target: int | None, classes: int) -> bool:
    """Whether a loss and its target are defined for a net that tells so many classes."""
    return classes >= max(NEEDED.get(loss, 1), 1 + (target or 0))


def seen_clean(loss: Loss) -> bool:
    """Whether `against` takes the model's logits at the clean images."""
    return loss in ("kl", "dlr-targeted")


def against(loss: Loss, labels: Tensor, clean: Tensor, target: int | None) -> Tensor:
    """What a loss for which `seen_clean` compares the logits with.

    Args:
      loss: "kl" or "dlr-targeted".
      labels: [n] classes, or [n, k] probabilities.
      clean: [n, k] logits of the clean images.
      target: the how many-th most likely wrong class is aimed at; None: the first.

    Raises:
      ValueError: there are not so many wrong classes.
    """
    if loss == "kl":
        return clean.log_softmax(1)
    wrong, nth = clean.shape[1] - 1, target or 1
    if nth > wrong:
        raise ValueError(f"target {nth} of a net with {wrong + 1} classes: {wrong} can be wrong")
    right = hard(labels)
    others = clean.scatter(1, right[:, None], -torch.inf)
    return torch.stack([right, others.argsort(1, descending=True)[:, nth - 1]], 1)


def hard(labels: Tensor) -> Tensor:
    """[n] classes: of probabilities [n, k] the most likely ones."""
    return labels.argmax(1) if labels.dim() == 2 else labels


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """[n] booleans: which images are named right; logits that are not numbers name nothing.

    (The largest of a row with NaN is the NaN, so that class 0 would stand.)
    """
    return (logits.argmax(1) == hard(labels)) & ~logits.isnan().any(1)


def check_loss(name: str, target: int | None = None) -> None:
    """Raise ValueError unless there is such a loss, and it has such a target."""
    if name not in get_args(Loss):
        near = suggest(str(name), get_args(Loss))
        raise ValueError(f"a loss is one of {', '.join(get_args(Loss))}, got {name!r}{near}")
    if target is not None and name != "dlr-targeted":
        raise ValueError(f"the loss {name!r} has no target: take 'dlr-targeted'")
    if target is not None and target < 1:
        raise ValueError(f"target is 1 (the likeliest wrong class) or more, got {target}")


def _lead(logits: Tensor, right: Tensor, values: Tensor, classes: Tensor) -> Tensor:
    """The best wrong logit above the right one; `values` and `classes` are the top two or more."""
    is_first = classes[:, 0] == right
    wrong = torch.where(is_first, values[:, 1], values[:, 0])
    return wrong - logits.gather(1, right[:, None])[:, 0]


def _need(loss: Loss, logits: Tensor) -> None:
    if logits.shape[1] < NEEDED[loss]:
        raise ValueError(
            f"{loss} needs {NEEDED[loss]} classes or more, the net has {logits.shape[1]}"
        )
