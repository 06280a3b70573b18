"""The plain loop: the images of a batch start together and take every step together."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adv.attacks import Iterative
from adv.evaluation.engine.jobs import AttackRun, EvaluationJob


def run_batch(
    run: AttackRun, job: EvaluationJob, block: Tensor, standing: Tensor, seed: int
) -> Tensor:
    """Return [m] booleans: which of the images `block[standing]` are still correct after a run.

    It is for random nets, where classifying each iterate would take the worst of many random
    answers, and for attacks that are not iterative. The random start of an image depends neither on
    which others still stand nor on the batch size.

    Args:
      run: a run of any attack.
      job: the net and the images.
      block: [n] indices into the split; the starts of all of them are drawn.
      standing: [m] indices into the block, the images to attack.
      seed: the seed of the block's starts.
    """
    attack = run.attack
    generator = torch.Generator().manual_seed(seed)
    starts = attack.start(*job.pixels(block), generator) if isinstance(attack, Iterative) else None
    correct = []
    for rows in standing.chunk(math.ceil(len(standing) / job.batch)):
        x, y = job.pixels(block[rows])
        if isinstance(attack, Iterative) and starts is not None:
            state = attack.prepare(job.attack_model, starts.keep(rows.to(y.device)))
            for _ in range(attack.steps):
                state = attack.step(job.attack_model, state)
            adv = attack.result(state)
        else:
            adv = attack(job.attack_model, x, y, generator=generator)
        correct.append(job.is_correct(adv, y).cpu())
        job.store(run, block[rows], adv)
    return torch.cat(correct)
