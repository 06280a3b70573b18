"""Checks of random nets: are there enough draws in the gradient, and enough votes?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from adv.attacks import PGD
from adv.attacks.losses import is_correct
from adv.auditing.context import VOTES, AuditContext
from adv.auditing.finding import Finding, mean_with_interval, paired_difference
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import use_seed
from adv.runtime.votes import Votes

MANY = 4  # with so many times the draws the curve must not fall any more


def check_randomness(context: AuditContext) -> Iterator[Finding]:
    """Yield the findings for a net that is declared random; none for another."""
    if context.random and context.natural.any():
        yield _check_draws(context)
        yield _check_votes(context)


def _check_draws(context: AuditContext) -> Finding:
    """Check whether more draws in the gradient make the attack stronger (EOT)."""
    own = context.battery.draws
    counts = sorted({1, own, max(20, MANY * own)})
    reached = {n: _right_probability(context, n) for n in counts}
    found, interval = mean_with_interval(reached[own] - reached[counts[-1]])
    curve = ", ".join(f"{100 * float(reached[n].mean()):.1f} % with {n}" for n in counts)
    return Finding(
        "more draws in the gradient",
        found,
        0.01,
        interval,
        "points",
        "the curve has flattened if many draws take less than a point more from the "
        "probability of the right class",
        f"After the attack the right class keeps a mean probability of {curve} draws.",
        "The attack follows the noise of a few draws instead of the net's gradient (no expectation "
        "over transformation): raise `draws` until the curve is flat.",
    )


def _right_probability(context: AuditContext, draws: int) -> Tensor:
    """Return the predicted probability of the right class after an attack.

    One value for each image that is correct without an attack.
    """
    attack, generator = _pgd(context), torch.Generator().manual_seed(context.battery.seed)
    attack_model = Votes(context.model, draws)
    predictor = Votes(context.model, max(context.battery.votes, VOTES))
    kept = []
    with frozen(context.model), use_seed(context.model, context.battery.seed):
        for ids in context.batches(context.natural):
            x, y = context.pixels(ids)
            adv = attack(attack_model, x, y, generator=generator)
            with torch.no_grad():
                kept.append(predictor(adv).gather(1, y[:, None])[:, 0].exp().cpu())
    return torch.cat(kept)


def _pgd(context: AuditContext) -> PGD:
    """Return the battery's PGD if it has momentum, which needs fewer draws; else the audit's."""
    own = (attack for _, attack in context.battery.attacks if attack.ball == context.ball)
    return next((pgd for pgd in own if isinstance(pgd, PGD) and pgd.momentum), context.pgd)


def _check_votes(context: AuditContext) -> Finding:
    """Measure how many images fail by chance if five predictions in a row must be correct."""
    predictor = Votes(context.model, context.battery.votes)
    first = torch.zeros(context.n, dtype=torch.bool)
    every = torch.ones(context.n, dtype=torch.bool)
    with frozen(context.model), use_seed(context.model, context.battery.seed + 1), torch.no_grad():
        for ids in context.batches(every):
            x, y = context.pixels(ids)
            correct = torch.stack([is_correct(predictor(x), y) for _ in range(5)]).cpu()
            first[ids], every[ids] = correct[0], correct.all(0)
    found, interval = paired_difference(first, every)
    votes = context.battery.votes
    return Finding(
        "repeated votes agree",
        found,
        0.05,
        interval,
        "points",
        "a battery classifies an image several times; a larger loss is chance, not the attack",
        f"Without an attack {100 * float(first.double().mean()):.1f} % are correct by {votes} "
        f"votes, {100 * float(every.double().mean()):.1f} % by {votes} votes five times in a row.",
        "The prediction changes from one vote to the next: with so few votes the worst of several "
        "predictions counts chance as an attack. Raise `votes`.",
    )
