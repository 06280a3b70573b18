"""The classes that a net predicts, by votes if it is random."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adv.runtime.devices import device_of
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import is_random, lend_stream
from adv.runtime.row_streams import RowStream
from adv.runtime.votes import Votes

BATCH = 256


def predict(net: nn.Module, images: Tensor, *, votes: int = 20, seed: int = 0) -> Tensor:
    """Return the class that a net predicts for each image, int64 [n] on the CPU.

    Args:
      net: on its device.
      images: bytes, or floats in [0, 1], [n, c, h, w].
      votes: draws of a random net that classify an image. It may answer otherwise when it is asked
        again.
      seed: of their noise.
    """
    device, voter = device_of(net), Votes(net, votes) if is_random(net) else net
    found = []
    with torch.no_grad(), frozen(net), lend_stream(net, RowStream(seed)):
        for part in images.split(BATCH):
            x = part.to(device)
            found.append(voter(x.float() / 255 if x.dtype == torch.uint8 else x).argmax(1).cpu())
    return torch.cat(found)
