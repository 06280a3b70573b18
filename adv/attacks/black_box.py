"""The access of a black-box attack: query the model for logits, and count the queries."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adv.attacks.attack import State, initial_state
from adv.attacks.counter_rng import draw_seeds
from adv.runtime.precision import full_precision

MAX_BATCH = 512  # images in one call of a model, so that memory is bounded for any number of images


@dataclass(frozen=True)
class QueryState(State):
    """The state of a black-box attack.

    Args:
      seed: [n] int64, from which all random choices of an image come, whatever its batch.
      queries: [n] int64, how often the model was queried about each image.
    """

    seed: Tensor
    queries: Tensor


def initial_query_state(
    clean: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    *,
    eps: float,
    step_size: float = 0.0,
) -> QueryState:
    """Return the state at the clean images, before the first query."""
    state = initial_state(clean, labels, clean, generator, eps=eps, step_size=step_size)
    seed = draw_seeds(len(clean), generator).to(clean.device)
    return QueryState(**vars(state), seed=seed, queries=torch.zeros_like(seed))


def query(model: nn.Module, x: Tensor) -> Tensor:
    """Return float32 logits [n, k] at images [n, c, h, w], computed without gradients."""
    with torch.no_grad(), full_precision(model):
        return torch.cat([model(rows).float() for rows in x.split(MAX_BATCH)])
