"""Catastrophic overfitting: training on one-step attacks may teach to fool the step, and no more.

Accuracy under the training attack stays, or rises, while PGD wins (Wong et al. 2020). So after each
epoch of such a training a few training images meet both attacks.
"""

from __future__ import annotations

import torch
from torch import nn

from adv.attacks import NFGSM, PGD, Attack, Ladder
from adv.attacks.losses import is_correct
from adv.data.datasets import Split
from adv.intervals import wilson
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import use_seed
from adv.training.lesson import Lesson

MOST, STEPS = 128, 10


def one_step(lesson: Lesson) -> PGD | NFGSM | None:
    """The attack of a lesson that needs this look: one step, and a ball to take it in."""
    attack = lesson.attack
    cheap = isinstance(attack, PGD | NFGSM) and attack.steps == 1 and attack.ball.eps > 0
    return attack if cheap and not isinstance(attack, Ladder) else None


def looked_at(split: Split) -> Split:
    """The images for it: 128 at most, else a thirty-second of the split, and 16 at least."""
    return split.head(min(MOST, max(16, len(split) // 32)))


def figures(net: nn.Module, split: Split, attack: PGD | NFGSM, seed: int) -> dict[str, float]:
    """What both attacks leave of the accuracy on `split`, the same starts and noise at each call.

    `catastrophic_overfitting` is 1 where PGD-10 leaves less than half of what the training attack
    leaves, and the two 95 % intervals do not meet; else 0.
    """
    stronger = PGD(attack.ball, steps=STEPS)
    step, pgd = (_accuracy(net, split, one, seed) for one in (attack, stronger))
    apart = wilson(pgd, len(split))[1] < wilson(step, len(split))[0]
    return {
        "one_step_accuracy": step,
        "pgd_accuracy": pgd,
        "catastrophic_overfitting": float(apart and pgd < step / 2),
    }


def _accuracy(net: nn.Module, split: Split, attack: Attack, seed: int) -> float:
    x = (split.images.float() / 255).contiguous(memory_format=torch.channels_last)
    with use_seed(net, seed), frozen(net), torch.no_grad():
        adv = attack(net, x, split.labels, generator=torch.Generator().manual_seed(seed))
        return float(is_correct(net(adv), split.labels).float().mean())
