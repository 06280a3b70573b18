"""The loop for attacks that are not iterative: one call for each batch of images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adv.evaluation.engine.jobs import LAST_VERDICT, PREPARE, AttackRun, EvaluationJob
from adv.runtime.random_streams import derive_seed
from adv.runtime.ranks import ALONE, Ranks


def run_batch(
    run: AttackRun,
    job: EvaluationJob,
    block: Tensor,
    standing: Tensor,
    seed: int,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Return [m] booleans: which of the images `block[standing]` are still correct after a run.

    Args:
      run: a run of any attack.
      job: the net and the images.
      block: [n] indices into the split.
      standing: [m] indices into the block, the images to attack.
      seed: the seed of the block's random numbers.
      ranks: that attack together, each every so many batches.
    """
    correct = []
    for number, rows in enumerate(standing.chunk(math.ceil(len(standing) / job.batch))):
        if number % ranks.count != ranks.rank:
            correct.append(torch.zeros(len(rows), dtype=torch.bool))
            continue
        generator = torch.Generator().manual_seed(derive_seed(seed, number))
        ids = block[rows]
        x, y = job.pixels(ids)
        job.seed_noise(ids, run.seed, 0, PREPARE)
        adv = run.attack(job.model, x, y, generator=generator)
        job.seed_noise(ids, run.seed, 0, LAST_VERDICT)
        stands = job.is_correct(adv, y).cpu()
        correct.append(stands)
        for part in (True, False):
            some = (stands == part).nonzero().flatten()
            job.store(run, ids[some], adv[some.to(adv.device)], fooled=not part)
    found = torch.cat(correct)
    return found if ranks.count == 1 else ranks.largest(found.to(torch.uint8)).bool()
