"""Latency of a net: the time it takes to classify one image in use."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn

from adv import Votes
from adv.runtime.devices import device_of
from adv.runtime.frozen import frozen

RUNS, WARM_UP = 11, 3


@torch.no_grad()
def measure_latency(net: nn.Module, image: Tensor, votes: int = 1) -> float:
    """Return the milliseconds that a net takes for one image: the median of several runs.

    It is measured on the device of the net, in evaluation mode; each layer keeps its own mode.

    Args:
      net: to measure.
      image: [c, h, w] bytes.
      votes: forward passes of a random net that vote on an image; 1 for other nets.
    """
    device = device_of(net)
    classifier = Votes(net, votes) if votes > 1 else net
    x = (image[None].float() / 255).to(device)
    taken = []
    with frozen(net):
        for _ in range(WARM_UP + RUNS):
            began = time.perf_counter()
            classifier(x)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken[WARM_UP:])
