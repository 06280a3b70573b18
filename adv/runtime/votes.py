"""An ensemble of several draws of a random classifier.

One wrapper serves prediction (the self-ensemble of Liu et al. 2018) and attack (expectation over
transformation, Athalye et al. 2018): no attack needs to know that a net is random.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Votes(nn.Module):
    """Predicts by the mean softmax of `n` draws of a model.

    `forward` returns the log of that mean, [batch, k]. Its cross-entropy is minus the log of the
    ensemble's probability, which is the loss to ascend against an ensemble.

    Raises:
      ValueError: `n` is below 1.
    """

    def __init__(self, model: nn.Module, n: int) -> None:
        super().__init__()
        if n < 1:
            raise ValueError(f"votes must be 1 or more, got {n}")
        self.model = model
        self.n = n

    def forward(self, x: Tensor) -> Tensor:
        draws = [self.model(x).float().log_softmax(1) for _ in range(self.n)]
        return torch.stack(draws).logsumexp(0) - math.log(self.n)
