"""The plain loop: a batch begins together, takes every step together, and is judged at the end."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adv.attacks import Iterative
from adv.evaluation.engine.jobs import Problem, Run


def plainly(run: Run, problem: Problem, block: Tensor, standing: Tensor, seed: int) -> Tensor:
    """[m] booleans: which of the images `block[standing]` are still right after the attack.

    For random nets, where judging each iterate would take the worst of many coin flips, and for
    attacks that are called as a whole. An image's random start is the same whichever others still
    stand, and whatever the batch.

    Args:
      run: of any attack.
      problem: net and images.
      block: [n] indices into the split; the starts of all of them are drawn.
      standing: [m] indices into the block.
      seed: of the block's starts.
    """
    attack = run.attack
    generator = torch.Generator().manual_seed(seed)
    begun = (
        attack.start(*problem.pixels(block), generator) if isinstance(attack, Iterative) else None
    )
    verdicts = []
    for rows in standing.chunk(math.ceil(len(standing) / problem.batch)):
        x, y = problem.pixels(block[rows])
        if isinstance(attack, Iterative) and begun is not None:
            state = attack.aim(problem.attacked, begun.keep(rows.to(y.device)))
            for _ in range(attack.steps):
                state = attack.step(problem.attacked, state)
            adv = attack.result(state)
        else:
            adv = attack(problem.attacked, x, y, generator=generator)
        verdicts.append(problem.right(adv, y).cpu())
        problem.store(run, block[rows], adv)
    return torch.cat(verdicts)
