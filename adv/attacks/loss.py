"""What an attack ascends: a loss of each image, from its logits and what they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

Loss = Literal["ce", "kl"]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Of classes [n], or of probabilities [n, k]; [n]."""
    return F.cross_entropy(logits, labels, reduction="none")


def divergence(logits: Tensor, clean: Tensor) -> Tensor:
    """Kullback and Leibler's, of the model from its log-probabilities `clean` [n, k]; [n].

    KL(clean || here), what TRADES ascends (Zhang et al. 2019, eq. 5).
    """
    return F.kl_div(logits.log_softmax(1), clean, reduction="none", log_target=True).sum(1)


LOSSES: Mapping[Loss, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": cross_entropy,
    "kl": divergence,
}


def check_loss(name: str) -> None:
    """Raise ValueError unless there is such a loss."""
    if name not in get_args(Loss):
        raise ValueError(f"a loss is one of {', '.join(get_args(Loss))}, got {name!r}")
