"""From a discriminator's answers to log-odds that an image is real (Platt 1999).

The hinge loss asks for a margin, not for log p / q: its answers have the right order at best. A
logistic curve fitted to held-out real and generated images gives them the right size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_STEPS = 50


@dataclass(frozen=True)
class Calibration:
    """log-odds = slope * answer + shift. The default takes answers as they are."""

    slope: float = 1.0
    shift: float = 0.0

    def __call__(self, answers: Tensor) -> Tensor:
        return self.slope * answers + self.shift

    def cross_entropy(self, real: Tensor, made: Tensor) -> float:
        """Mean cross-entropy in nats of "real or made?", log 2 = 0.693 for one who cannot tell."""
        right = F.logsigmoid(self(real.double())).sum() + F.logsigmoid(-self(made.double())).sum()
        return float(-right / (len(real) + len(made)))


def fit_calibration(real: Tensor, made: Tensor) -> Calibration:
    """The logistic regression of "real" on a discriminator's answers.

    Args:
      real: [n] to real images that no net was trained on.
      made: [m] to generated ones.

    Targets are Platt's, (n + 1) / (n + 2) and 1 / (m + 2): the fit stays finite where the kinds
    can be told apart without a mistake. A discriminator that is wrong more often than right on
    held-out images tells nothing: its slope is 0, and DDLS then samples the prior.

    Raises:
      ValueError: no answers of a kind, or not finite ones.
    """
    if not len(real) or not len(made):
        raise ValueError("a calibration needs real and generated images")
    x = torch.cat([real, made]).double().cpu()
    if not torch.isfinite(x).all():
        raise ValueError("the discriminator's answers are not finite: its training has diverged")
    n, m = len(real), len(made)
    target = torch.cat([x.new_full((n,), (n + 1) / (n + 2)), x.new_full((m,), 1 / (m + 2))])
    middle, spread = x.mean(), x.std(correction=0).clamp(min=1e-12)
    inputs = torch.stack([(x - middle) / spread, torch.ones_like(x)], 1)
    # Both kinds counted alike, however many there are: the odds are those of the densities.
    share = torch.cat([x.new_full((n,), 0.5 / n), x.new_full((m,), 0.5 / m)])
    weights = _logistic_regression(inputs, target, share)
    slope = float(weights[0] / spread)
    if slope <= 0:
        return Calibration(0.0, 0.0)
    return Calibration(slope, float(weights[1] - weights[0] * middle / spread))


def _logistic_regression(inputs: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """Newton's method on the cross-entropy, each row [n, 2] weighted by its share [n]."""
    weights = inputs.new_zeros(2)

    def loss(at: Tensor) -> Tensor:
        logits = inputs @ at
        return (share * (F.softplus(logits) - target * logits)).sum()

    for _ in range(_STEPS):
        guess = torch.sigmoid(inputs @ weights)
        slope = inputs.T @ (share * (guess - target))
        curve = (inputs * (share * guess * (1 - guess))[:, None]).T @ inputs
        way = torch.linalg.solve(curve + 1e-9 * torch.eye(2).to(curve), slope)
        size = 1.0
        while loss(weights - size * way) > loss(weights) and size > 1e-6:
            size /= 2
        weights = weights - size * way
        if float(slope.norm()) < 1e-10:
            break
    return weights
