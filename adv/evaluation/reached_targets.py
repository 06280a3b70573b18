"""Count the fooled images that a net takes for the class at which a targeted attack aimed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adv.attacks.losses import TargetClass, loss_target
from adv.data.datasets import Split
from adv.evaluation.score import Score
from adv.runtime.devices import device_of
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import is_random, use_seed
from adv.runtime.votes import Votes

BATCH = 256


@dataclass(frozen=True)
class Reached:
    """Counts of the images of other classes that were `fooled`, and that `reached` the target."""

    fooled: int
    reached: int


def count_reached(
    net: nn.Module, split: Split, score: Score, target: TargetClass, seed: int
) -> tuple[Reached, ...]:
    """Return, for each attack of a score, how many of the images that it fooled reached the target.

    An image leaves an attack at the first wrong answer, whichever class that is. Images whose own
    class is the target are not counted: they are aimed at another one.

    Args:
      net: the net, on its device.
      split: the images of the score.
      score: with its adversarial images.
      target: the class, or "least-likely".
      seed: of the noise of a random net.
    """
    assert score.adversarial is not None
    split = split.to(device_of(net))
    predictor = Votes(net, score.votes) if is_random(net) else net
    with torch.no_grad(), frozen(net), use_seed(net, seed):
        clean = _logits(predictor, split.images.float() / 255)
        pair = loss_target("margin-targeted", split.labels, clean, None, target)
        other = (split.labels != target).cpu() if isinstance(target, int) else score.ok[0]
        found = []
        for ok, adv in zip(score.ok[1:], score.adversarial, strict=True):
            fooled = (score.ok[0] & ~ok & other).nonzero().flatten()
            if len(fooled):
                answers = _logits(predictor, adv[fooled].to(pair.device)).argmax(1)
                hits = int((answers == pair[fooled.to(pair.device), 1]).sum())
            found.append(Reached(len(fooled), hits if len(fooled) else 0))
    return tuple(found)


def _logits(predictor: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([predictor(batch).float() for batch in images.split(BATCH)])
