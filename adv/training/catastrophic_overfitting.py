"""Catastrophic overfitting: the net resists the one-step attack it trains on, and no other.

Accuracy under the training attack stays, or rises, while accuracy under PGD collapses (Wong et al.
2020). So after each epoch of one-step training both attacks are run on a few training images.
"""

from __future__ import annotations

import torch
from torch import nn

from adv.attacks import NFGSM, PGD, Attack, Ladder
from adv.attacks.losses import is_correct
from adv.data.datasets import Split
from adv.intervals import wilson
from adv.runtime.foreign_nets import memory_format_of
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import use_seed
from adv.training.lesson import Lesson

MAX_IMAGES, PGD_STEPS = 128, 10


def one_step_attack(lesson: Lesson) -> PGD | NFGSM | None:
    """Return the lesson's attack if it takes one step in a ball of positive radius, else None."""
    attack = lesson.attack
    cheap = isinstance(attack, PGD | NFGSM) and attack.steps == 1 and attack.ball.eps > 0
    return attack if cheap and not isinstance(attack, Ladder) else None


def probe_images(split: Split) -> Split:
    """Return the first images of a split for the check: 1/32 of them, but 16 to 128."""
    return split.head(min(MAX_IMAGES, max(16, len(split) // 32)))


def measure(net: nn.Module, split: Split, attack: PGD | NFGSM, seed: int) -> dict[str, float]:
    """Measure the accuracy on `split` under a one-step attack and under PGD.

    Args:
      net: evaluated in evaluation mode.
      split: the images.
      attack: the one-step attack that the net trains on.
      seed: of both attacks' starts and of the net's noise; the same at each call.

    Returns:
      `one_step_accuracy` and `pgd_accuracy` in [0, 1], and `catastrophic_overfitting`: 1 if the
      latter `has_collapsed`, else 0.
    """
    stronger = PGD(attack.ball, steps=PGD_STEPS)
    one_step, pgd = (_accuracy(net, split, each, seed) for each in (attack, stronger))
    return {
        "one_step_accuracy": one_step,
        "pgd_accuracy": pgd,
        "catastrophic_overfitting": float(has_collapsed(one_step, pgd, len(split))),
    }


def has_collapsed(one_step: float, pgd: float, images: int) -> bool:
    """Return whether PGD certainly leaves less than half of the accuracy that one step leaves.

    The upper end of the 95 % interval of the one is below half of the lower end of the other. At a
    large radius one step is a weak attack on any net, also on one that PGD has trained: an
    observed half is no evidence.
    """
    return wilson(pgd, images)[1] < wilson(one_step, images)[0] / 2


def _accuracy(net: nn.Module, split: Split, attack: Attack, seed: int) -> float:
    x = (split.images.float() / 255).contiguous(memory_format=memory_format_of(net))
    with use_seed(net, seed), frozen(net), torch.no_grad():
        adv = attack(net, x, split.labels, generator=torch.Generator().manual_seed(seed))
        return float(is_correct(net(adv), split.labels).float().mean())
