"""Checks of random nets: does the attack see enough draws, and the jury?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from adv.attacks.losses import is_correct
from adv.auditing.context import VOTES, AuditContext
from adv.auditing.finding import Finding, difference, mean
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import use_seed
from adv.runtime.votes import Votes

MANY = 4  # times as many draws, by which the curve must not fall any more


def chance(context: AuditContext) -> Iterator[Finding]:
    """The checks of a net that is declared random; none for another."""
    if context.random and context.natural.any():
        yield _curve(context)
        yield _juries(context)


def _curve(context: AuditContext) -> Finding:
    """Expectation over transformation: what one more draw in the gradient is still worth."""
    own = context.battery.draws
    counts = sorted({1, own, max(20, MANY * own)})
    reached = {n: _believed(context, n) for n in counts}
    found, interval = mean(reached[own] - reached[counts[-1]])
    told = ", ".join(f"{100 * float(reached[n].mean()):.1f} % with {n}" for n in counts)
    return Finding(
        "more draws in the gradient", found, 0.01, interval, "points",
        "the curve has flattened if many draws take less than a point more from the "
        "probability of the right class",
        f"After the attack the right class keeps a mean probability of {told} draws.",
        "The attack follows the noise of a few draws instead of the slope of the net (no "
        "expectation over transformation): raise `draws` until the curve is flat.",
    )  # fmt: skip


def _believed(context: AuditContext, draws: int) -> Tensor:
    """The probability that the jury gives the right class after an attack, [right images]."""
    generator = torch.Generator().manual_seed(context.battery.seed)
    attacked, judge = (
        Votes(context.model, draws),
        Votes(context.model, max(context.battery.votes, VOTES)),
    )
    kept = []
    with frozen(context.model), use_seed(context.model, context.battery.seed):
        for ids in context.batches(context.natural):
            x, y = context.pixels(ids)
            adv = context.white(attacked, x, y, generator=generator)
            with torch.no_grad():
                kept.append(judge(adv).gather(1, y[:, None])[:, 0].exp().cpu())
    return torch.cat(kept)


def _juries(context: AuditContext) -> Finding:
    """How many images lose by luck if five juries must all be right, without any attack."""
    judge = Votes(context.model, context.battery.votes)
    first = torch.zeros(context.n, dtype=torch.bool)
    every = torch.ones(context.n, dtype=torch.bool)
    with frozen(context.model), use_seed(context.model, context.battery.seed + 1), torch.no_grad():
        for ids in context.batches(every):
            x, y = context.pixels(ids)
            verdicts = torch.stack([is_correct(judge(x), y) for _ in range(5)]).cpu()
            first[ids], every[ids] = verdicts[0], verdicts.all(0)
    found, interval = difference(first, every)
    votes = context.battery.votes
    return Finding(
        "one jury and the next agree", found, 0.05, interval, "points",
        "a battery judges an image several times; more than this would be luck, not attack",
        f"Without an attack one jury of {votes} finds {100 * float(first.double().mean()):.1f} % "
        f"right, five juries in a row {100 * float(every.double().mean()):.1f} %.",
        "The verdict is a coin flip: with so few votes the worst of several verdicts counts luck "
        "as attack. Raise `votes`.",
    )  # fmt: skip
