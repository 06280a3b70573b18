"""Checks of random nets with their noise held fixed: how much rests on not knowing the draw?

With the noise fixed in attack and verdict a random net is a deterministic one, which gradients must
break (arXiv 2404.14309, 2505.22839). It is not what an attacker meets, so the figures explain a
score and are none themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from adv.attacks import PGD
from adv.attacks.losses import is_correct
from adv.auditing.context import VOTES, AuditContext
from adv.auditing.finding import Finding, paired_difference, share_with_interval
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import use_seed
from adv.runtime.votes import Votes


class FixedNoise(nn.Module):
    """A random net that makes the same draws at every call for a batch of the same shape."""

    def __init__(self, model: nn.Module, seed: int) -> None:
        super().__init__()
        self.model, self.seed = model, seed

    def forward(self, x: Tensor) -> Tensor:
        devices = [x.device] if x.is_cuda else []
        with use_seed(self.model, self.seed), torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.seed)
            out: Tensor = self.model(x)
        return out


def check_fixed_noise(context: AuditContext) -> Iterator[Finding]:
    """Yield the findings of attacks on one draw of a random net; none for another net."""
    if not (context.random and context.natural.any()):
        return
    yield _check_known_noise(context)
    yield _check_large_radius(context)


def _check_known_noise(context: AuditContext) -> Finding:
    """Compare accuracy with known noise, unknown noise, and attacks made for one draw."""
    known, transferred = _attack_one_draw(context, context.pgd)
    averaged = context.standing_pgd
    found, interval = paired_difference(known, averaged)
    a, b, c = (100 * float(row.double().mean()) for row in (known, averaged, transferred))
    return Finding(
        "fixed noise against unknown noise",
        found,
        0.03,
        interval,
        "points",
        "an attack that knows the draw does at least as much as one that does not; three points "
        "allow for the draw",
        f"With the noise held fixed, in attack and verdict, {a:.1f} % stay correct; with unknown "
        f"noise and averaged gradients {b:.1f} %; with unknown noise and attacks made for one draw "
        f"{c:.1f} %. So {b - a:.1f} points rest on not knowing the draw, and averaging the "
        f"gradient takes {c - b:.1f}.",
        "The net resists an attack that knows its noise better than one that does not: even a "
        "single draw hides its gradient, so averaging draws cannot find it either.",
    )


def _check_large_radius(context: AuditContext) -> Finding:
    """Check that one draw breaks at a radius where every image can be made grey."""
    x, _ = context.pixels(torch.arange(1))
    eps = float(context.ball.distance(x + 0.5, x))
    attack = replace(context.pgd, ball=replace(context.ball, eps=eps))
    found, interval = share_with_interval(_attack_one_draw(context, attack)[0])
    chance = int(context.split.labels.bincount().max()) / context.n
    return Finding(
        "fixed noise breaks at a large radius",
        found,
        chance,
        interval,
        "%",
        "at eps 0.5 every image can be made plain grey, so no net can do better than guess",
        f"With the noise held fixed {100 * found:.1f} % stay correct at eps {eps:.3g}; guessing "
        f"gives {100 * chance:.1f} %.",
        "One draw of the net is an ordinary net, and the gradient does not break it: it is masked, "
        "apart from the noise.",
    )


def _attack_one_draw(context: AuditContext, attack: PGD) -> tuple[Tensor, Tensor]:
    """Attack one draw of a net.

    Returns:
      [n] booleans: which images that draw classifies correctly under the attack, and which ones
      fresh votes do. Images that are wrong without an attack count as wrong.
    """
    generator = torch.Generator().manual_seed(context.battery.seed)
    fixed = FixedNoise(context.model, context.battery.seed + 1)
    predictor = Votes(context.model, max(context.battery.votes, VOTES))
    known, fresh = torch.zeros(2, context.n, dtype=torch.bool)
    with frozen(context.model), use_seed(context.model, context.battery.seed):
        for ids in context.batches(context.natural):
            x, y = context.pixels(ids)
            adv = attack(fixed, x, y, generator=generator)
            with torch.no_grad():
                known[ids] = is_correct(fixed(adv), y).cpu()
                fresh[ids] = is_correct(predictor(adv), y).cpu()
    return known, fresh
