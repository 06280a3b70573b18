"""The L1 ball of Croce and Hein, "Mind the box" (ICML 2021, arXiv 2103.01208).

A perturbation of small L1 norm changes few values, so the box [0, 1] matters: projecting onto the
ball and clipping afterwards leaves points well inside both, and makes nets look more robust than
they are. Here the projection onto their intersection is exact, and a step of ascent goes along the
largest components of the gradient only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from adv.attacks.ball import TINY, Ball, column

SHARE = 0.2
"""The share of the components along which the first steps of APGD go, and all of PGD."""


@dataclass(frozen=True)
class L1(Ball):
    """The ball in which the absolute values of the change add up to at most `eps`."""

    def project(self, adv: Tensor, clean: Tensor, eps: float | Tensor | None = None) -> Tensor:
        eps = self.eps if eps is None else eps
        change = project_l1((adv - clean).flatten(1), clean.flatten(1), eps)
        return change.reshape(clean.shape).add_(clean).clamp_(0, 1)

    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Draw points uniformly from the balls, by the gaps between sorted uniform numbers."""
        n, d = len(clean), max(1, clean[0].numel()) if len(clean) else 1
        shares = torch.rand(n, d + 1, generator=generator).log_().neg_()  # exponential: Dirichlet
        signs = torch.randint(0, 2, (n, d), generator=generator) * 2.0 - 1
        change = self.eps * signs * shares[:, :d] / shares.sum(1, keepdim=True)
        return torch.clamp(clean + change.to(clean).reshape(clean.shape), 0, 1)

    def sample_sphere(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Draw normal noise and project it, as APGD does in this norm."""
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        return self.project(clean + noise, clean)

    def ascend(self, adv: Tensor, gradient: Tensor, step: float | Tensor) -> Tensor:
        """Move by `step` along the signs of the largest fifth of the components."""
        share = torch.full((len(adv),), SHARE, device=adv.device)
        return ascend_sparsely(adv, gradient, step, share)

    def distance(self, adv: Tensor, clean: Tensor) -> Tensor:
        return (adv - clean).flatten(1).abs().sum(1)


def ascend_sparsely(adv: Tensor, gradient: Tensor, step: float | Tensor, share: Tensor) -> Tensor:
    """Move images by a length of `step` in L1 along the signs of the largest components.

    Args:
      adv: [n, ...] the images.
      gradient: [n, ...]; NaN counts as 0.
      step: one length for all images, or [n] one for each.
      share: [n] the share of the components that are changed, in [0, 1]; at least one is.
    """
    flat = gradient.nan_to_num(0.0).flatten(1)
    if not flat.numel():
        return adv
    d = flat.shape[1]
    first = ((1 - share) * d).long().clamp(0, d - 1)
    least = flat.abs().sort(1).values.gather(1, first[:, None])
    signs = (flat * (flat.abs() >= least)).sign()
    signs = signs / (signs.abs().sum(1, keepdim=True) + TINY)
    return adv + column(step, adv) * signs.reshape(adv.shape)


def project_l1(change: Tensor, clean: Tensor, eps: float | Tensor) -> Tensor:
    """Project changes onto the L1 ball and the box at once.

    The nearest change has |z| = min(max(|change| - t, 0), room), with `room` the distance to the
    end of the box on that side, and the smallest t >= 0 with which these add up to eps at most. As
    a function of t the sum is piecewise linear with corners at |change| and |change| - room: they
    are sorted, and t lies on the piece on which the sum passes eps.

    Args:
      change: [n, d] added to `clean`.
      clean: [n, d] in [0, 1].
      eps: one radius for all, or [n] one for each.

    Returns:
      [n, d] the nearest change for which `clean + change` lies in the ball and in [0, 1].
    """
    size = change.abs()
    room = torch.where(change > 0, 1 - clean, clean)
    inside = torch.minimum(size, room)
    n, d = change.shape
    radius = torch.as_tensor(eps, device=change.device, dtype=change.dtype).reshape(-1, 1)
    radius = radius.expand(n, 1)
    if not d or bool((inside.sum(1, keepdim=True) <= radius).all()):
        return inside.copysign(change)
    corners, order = torch.cat([size, size - room], 1).clamp(min=0).sort(1, descending=True)
    slope = torch.where(order < d, 1.0, -1.0).cumsum(1)  # values that grow as t falls
    falls = corners[:, :-1] - corners[:, 1:]
    sums = torch.cat([torch.zeros_like(radius), (slope[:, :-1] * falls).cumsum(1)], 1)
    last = (sums < radius).sum(1, keepdim=True).clamp(1, 2 * d) - 1  # the piece begins there
    beyond = (radius - sums.gather(1, last)).clamp(min=0) / slope.gather(1, last).clamp(min=1)
    t = (corners.gather(1, last) - beyond).clamp(min=0)
    found = torch.minimum((size - t).clamp(min=0), room)
    found = torch.where(inside.sum(1, keepdim=True) <= radius, inside, found)
    excess = found.sum(1, keepdim=True) / radius.clamp(min=TINY)
    return (found / excess.clamp(min=1)).copysign(change)
