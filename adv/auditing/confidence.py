"""How sure a net is of its predictions: the mean of its largest probability."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adv.data.datasets import Split
from adv.runtime.foreign_nets import memory_format_of
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import is_random, use_seed
from adv.runtime.votes import Votes

_VOTES = 5


def mean_confidence(model: nn.Module, split: Split, seed: int, batch: int | None = None) -> float:
    """Return the mean of the largest probability over images without an attack, in [0, 1].

    Args:
      model: the net, on the device of the images; of a random one the mean of 5 draws is asked.
      split: the images.
      seed: of the draws of a random net.
      batch: images at a time.
    """
    asked = Votes(model, _VOTES) if is_random(model) else model
    form = memory_format_of(model)
    found: list[Tensor] = []
    with torch.no_grad(), frozen(model), use_seed(model, seed):
        for images in split.images.split(batch or 64):
            x = (images.float() / 255).contiguous(memory_format=form)
            found.append(asked(x).float().softmax(1).amax(1).nan_to_num(0.0))
    return float(torch.cat(found).mean())
