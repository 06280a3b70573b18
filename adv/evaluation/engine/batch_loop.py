"""The loop for attacks that are not iterative: one call for each batch of images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adv.evaluation.engine.jobs import LAST_VERDICT, PREPARE, AttackRun, EvaluationJob


def run_batch(
    run: AttackRun, job: EvaluationJob, block: Tensor, standing: Tensor, seed: int
) -> Tensor:
    """Return [m] booleans: which of the images `block[standing]` are still correct after a run.

    Args:
      run: a run of any attack.
      job: the net and the images.
      block: [n] indices into the split.
      standing: [m] indices into the block, the images to attack.
      seed: the seed of the block's random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    correct = []
    for rows in standing.chunk(math.ceil(len(standing) / job.batch)):
        ids = block[rows]
        x, y = job.pixels(ids)
        job.seed_noise(ids, run.seed, 0, PREPARE)
        adv = run.attack(job.model, x, y, generator=generator)
        job.seed_noise(ids, run.seed, 0, LAST_VERDICT)
        correct.append(job.is_correct(adv, y).cpu())
        job.store(run, ids, adv)
    return torch.cat(correct)
