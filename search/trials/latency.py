"""How long a net takes to classify one image, as it would be used."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn

from adv import Votes
from adv.runtime.devices import device_of

RUNS, WARM = 11, 3


@torch.no_grad()
def latency(net: nn.Module, image: Tensor, votes: int = 1) -> float:
    """Milliseconds, the median of several runs, on the device of the net.

    Args:
      net: in evaluation mode while this lasts.
      image: [3, h, w] bytes.
      votes: draws of a random net that judge an image, 1 for other nets.
    """
    device = device_of(net)
    judge = Votes(net, votes) if votes > 1 else net
    x = (image[None].float() / 255).to(device)
    training, taken = net.training, []
    net.eval()
    for _ in range(WARM + RUNS):
        began = time.perf_counter()
        judge(x)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(1000 * (time.perf_counter() - began))
    net.train(training)
    return statistics.median(taken[WARM:])
