"""What a black-box attacker may do: ask a model for its answers, and count how often it asked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adv.attacks.attack import State, begin
from adv.attacks.counter_rng import seeds
from adv.runtime.precision import FullPrecision

MOST = 512  # images in one call of a model: memory stays bounded however many are asked about


@dataclass(frozen=True)
class Queried(State):
    """The state of a black-box attack.

    `seed` [n] int64 is what an image's random choices come from, whichever others share its batch;
    `queries` [n] int64 is how often the model was asked about it.
    """

    seed: Tensor
    queries: Tensor


def queried(clean: Tensor, labels: Tensor, generator: torch.Generator) -> Queried:
    """The state before the first query, at the images themselves."""
    n, device = len(clean), clean.device
    state = begin(clean, labels, clean, generator)
    own = seeds(n, generator).to(device)
    return Queried(**vars(state), seed=own, queries=torch.zeros_like(own))


def ask(model: nn.Module, x: Tensor) -> Tensor:
    """Logits [n, k] float32 at images [n, c, h, w]; computed in float32 and without gradients."""
    with torch.no_grad(), FullPrecision():
        return torch.cat([model(part).float() for part in x.split(MOST)])
