"""Turn a discriminator's outputs into log-odds that an image is real (Platt 1999).

The hinge loss asks for a margin, not for log p / q: at best, the outputs have the right order. A
logistic regression on held-out real and on generated images gives them the right scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_NEWTON_STEPS = 50


@dataclass(frozen=True)
class Calibration:
    """The map from a discriminator's output to log-odds, slope * output + shift.

    The default leaves outputs as they are.
    """

    slope: float = 1.0
    shift: float = 0.0

    def __call__(self, outputs: Tensor) -> Tensor:
        return self.slope * outputs + self.shift

    def cross_entropy(self, real: Tensor, generated: Tensor) -> float:
        """Return the mean cross-entropy, in nats, of telling real images from generated ones.

        log 2 = 0.693 is that of guessing.
        """
        right = (
            F.logsigmoid(self(real.double())).sum() + F.logsigmoid(-self(generated.double())).sum()
        )
        return float(-right / (len(real) + len(generated)))


def fit_calibration(real: Tensor, generated: Tensor) -> Calibration:
    """Fit a logistic regression of "real" on a discriminator's outputs.

    Targets are Platt's, (n + 1) / (n + 2) and 1 / (m + 2), so that the fit stays finite if the two
    kinds are separated without an error. If the discriminator is wrong more often than right on
    held-out images, its outputs carry no information: the slope is 0, and DDLS samples the prior.

    Args:
      real: outputs [n] for real images that no net was trained on.
      generated: outputs [m] for generated images.

    Raises:
      ValueError: there are no outputs of one kind, or they are not finite.
    """
    if not len(real) or not len(generated):
        raise ValueError("a calibration needs real and generated images")
    x = torch.cat([real, generated]).double().cpu()
    if not torch.isfinite(x).all():
        raise ValueError("the discriminator's outputs are not finite: its training has diverged")
    n, m = len(real), len(generated)
    target = torch.cat([x.new_full((n,), (n + 1) / (n + 2)), x.new_full((m,), 1 / (m + 2))])
    mean, deviation = x.mean(), x.std(correction=0).clamp(min=1e-12)
    inputs = torch.stack([(x - mean) / deviation, torch.ones_like(x)], 1)
    # Both kinds weigh the same, however many there are: the odds are those of the densities.
    share = torch.cat([x.new_full((n,), 0.5 / n), x.new_full((m,), 0.5 / m)])
    weights = _logistic_regression(inputs, target, share)
    slope = float(weights[0] / deviation)
    if slope <= 0:
        return Calibration(0.0, 0.0)
    return Calibration(slope, float(weights[1] - weights[0] * mean / deviation))


def _logistic_regression(inputs: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """Minimise the cross-entropy by Newton's method, each row [n, 2] weighted by its share [n]."""
    weights = inputs.new_zeros(2)

    def loss(at: Tensor) -> Tensor:
        logits = inputs @ at
        return (share * (F.softplus(logits) - target * logits)).sum()

    for _ in range(_NEWTON_STEPS):
        probability = torch.sigmoid(inputs @ weights)
        gradient = inputs.T @ (share * (probability - target))
        hessian = (inputs * (share * probability * (1 - probability))[:, None]).T @ inputs
        direction = torch.linalg.solve(hessian + 1e-9 * torch.eye(2).to(hessian), gradient)
        step = 1.0
        while loss(weights - step * direction) > loss(weights) and step > 1e-6:
            step /= 2
        weights = weights - step * direction
        if float(gradient.norm()) < 1e-10:
            break
    return weights
