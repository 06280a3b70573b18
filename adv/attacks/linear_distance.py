"""The order of targets of MALT (arXiv 2407.02240): wrong classes by their linear distance.

The distance of a class j is that to its boundary if the net were linear, a step of DeepFool:
(z_y - z_j) / |gradient of z_y - z_j|, in the dual of the ball's norm. A class that is likely but
steeply guarded comes later than by its logit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from adv.attacks.ball import Ball, Linf
from adv.attacks.gradient import no_gradient
from adv.attacks.l1 import L1
from adv.attacks.losses import hard_labels

CANDIDATES = 20  # likeliest wrong classes that are measured, at a backward pass each


def rank_by_distance(model: nn.Module, x: Tensor, labels: Tensor, ball: Ball) -> Tensor:
    """Return the wrong classes [n, k - 1] of each image, the nearest first.

    Only the `CANDIDATES` likeliest are measured; the others follow them by their logits. So do
    classes without a slope, whose distance is infinite.

    Args:
      model: maps images to logits [n, k]; the caller has frozen it.
      x: [n, c, h, w] the clean images.
      labels: [n] classes, or [n, k] probabilities.
      ball: gives the norm: the dual of Linf is L1, that of L1 is Linf, that of L2 is L2.

    Raises:
      ValueError: the output of the model does not depend differentiably on the images.
    """
    dual = 1 if isinstance(ball, Linf) else math.inf if isinstance(ball, L1) else 2
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        labels = hard_labels(labels).clone()
        logits = model(x).float()
        if not logits.requires_grad:
            raise no_gradient()
        right = logits.gather(1, labels[:, None])
        order = logits.detach().scatter(1, labels[:, None], -torch.inf).argsort(1, descending=True)
        order = order[:, : logits.shape[1] - 1]
        distances = []
        for classes in order[:, :CANDIDATES].split(1, 1):
            gap = right - logits.gather(1, classes)
            (slope,) = torch.autograd.grad(gap.sum(), x, retain_graph=True)
            distance = gap.detach()[:, 0] / slope.float().flatten(1).norm(dual, dim=1)
            distances.append(distance.nan_to_num(nan=torch.inf))
    nearest = torch.stack(distances, 1).argsort(stable=True)
    return torch.cat([order[:, :CANDIDATES].gather(1, nearest), order[:, CANDIDATES:]], 1)


def pair_by_distance(
    model: nn.Module, x: Tensor, labels: Tensor, ball: Ball, target: int
) -> Tensor:
    """Return the right class and the `target`-th nearest wrong one of each image, [n, 2].

    Raises:
      ValueError: there are fewer wrong classes.
    """
    ranking = rank_by_distance(model, x, labels, ball)
    wrong = ranking.shape[1]
    if target > wrong:
        raise ValueError(
            f"target {target} is not possible: a net with {wrong + 1} classes has {wrong} "
            "wrong ones"
        )
    return torch.stack([hard_labels(labels), ranking[:, target - 1]], 1)
