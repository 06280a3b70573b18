"""Checks of random nets: does the attack see enough draws, and the jury?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from adv.attacks.losses import correct
from adv.auditing.context import VOTES, Case
from adv.auditing.finding import Finding, difference, mean
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import use_seed
from adv.runtime.votes import Votes

MANY = 4  # times as many draws, by which the curve must not fall any more


def chance(case: Case) -> Iterator[Finding]:
    """The checks of a net that is declared random; none for another."""
    if case.random and case.natural.any():
        yield _curve(case)
        yield _juries(case)


def _curve(case: Case) -> Finding:
    """Expectation over transformation: what one more draw in the gradient is still worth."""
    own = case.battery.draws
    counts = sorted({1, own, max(20, MANY * own)})
    reached = {n: _believed(case, n) for n in counts}
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


def _believed(case: Case, draws: int) -> Tensor:
    """The probability that the jury gives the right class after an attack, [right images]."""
    generator = torch.Generator().manual_seed(case.battery.seed)
    attacked, judge = Votes(case.model, draws), Votes(case.model, max(case.battery.votes, VOTES))
    kept = []
    with frozen(case.model), use_seed(case.model, case.battery.seed):
        for ids in case.batches(case.natural):
            x, y = case.pixels(ids)
            adv = case.white(attacked, x, y, generator=generator)
            with torch.no_grad():
                kept.append(judge(adv).gather(1, y[:, None])[:, 0].exp().cpu())
    return torch.cat(kept)


def _juries(case: Case) -> Finding:
    """How many images lose by luck if five juries must all be right, without any attack."""
    judge = Votes(case.model, case.battery.votes)
    first = torch.zeros(case.n, dtype=torch.bool)
    every = torch.ones(case.n, dtype=torch.bool)
    with frozen(case.model), use_seed(case.model, case.battery.seed + 1), torch.no_grad():
        for ids in case.batches(every):
            x, y = case.pixels(ids)
            verdicts = torch.stack([correct(judge(x), y) for _ in range(5)]).cpu()
            first[ids], every[ids] = verdicts[0], verdicts.all(0)
    found, interval = difference(first, every)
    votes = case.battery.votes
    return Finding(
        "one jury and the next agree", found, 0.05, interval, "points",
        "a battery judges an image several times; more than this would be luck, not attack",
        f"Without an attack one jury of {votes} finds {100 * float(first.double().mean()):.1f} % "
        f"right, five juries in a row {100 * float(every.double().mean()):.1f} %.",
        "The verdict is a coin flip: with so few votes the worst of several verdicts counts luck "
        "as attack. Raise `votes`.",
    )  # fmt: skip
