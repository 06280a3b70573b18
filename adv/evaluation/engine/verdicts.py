"""When the draws of a random net say enough about an image.

A random net answers at random, and the worst of many random answers makes it look weaker than it
is. So an image under attack is judged at most twice in a run. The first verdict is asked for as
soon as the draws of the gradients, which the attack computes anyhow, say clearly that the image is
fooled; unless the votes say so clearly too, the attack goes on, and its result is judged as always.
What fools an image is also judged once in the next smaller ball, where it has to be clearly wrong.
"""

from __future__ import annotations

import torch
from torch import Tensor

from adv.attacks.losses import hard_labels

CLEARLY = 3.0  # standard errors by which the mean margin of the draws lies below 0
LEAST = 5  # draws whose spread says something; a step of the report's battery has as many
FIRM = 2.0  # standard errors by which the first verdict has to be wrong to count
SURE = 3.0  # standard errors by which the votes that are left would have to turn the others


def add_evidence(evidence: Tensor, draws: Tensor, labels: Tensor, fooled: Tensor) -> Tensor:
    """Return the evidence [n, 3] that images are fooled, after one more step.

    It is the number of draws, the sum of their margins and that of the margins' squares, over the
    last steps, all of which fooled the mean of their draws. The margin of a draw is the right
    log-probability minus that of the class that the mean takes for the likeliest wrong one.

    Args:
      evidence: [n, 3] float64, before the step.
      draws: [draws, n, k] log-probabilities of the step.
      labels: classes [n] or probabilities [n, k].
      fooled: [n] booleans, whether the attack says that the model is fooled.
    """
    margins = _margins(draws, draws.logsumexp(0), hard_labels(labels))
    count = torch.full_like(margins[0], len(draws))
    seen = torch.stack([count, margins.sum(0), margins.square().sum(0)], 1)
    return torch.where(fooled[:, None], evidence + seen, 0.0)


def is_clearly_fooled(evidence: Tensor) -> Tensor:
    """Return [n] booleans: the mean margin lies `CLEARLY` standard errors or more below 0."""
    count, total, squares = evidence.unbind(1)
    mean = total / count.clamp(min=1)
    variance = (squares / count.clamp(min=1) - mean.square()).clamp(min=0)
    error = (variance / (count - 1).clamp(min=1)).sqrt()
    return (count >= LEAST) & (mean + CLEARLY * error <= 0)


def measure_lead(votes: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean margin [n] of votes [votes, n, k], and its standard error [n]."""
    margins = _margins(votes, votes.sum(0), right)
    spread = margins.var(0, correction=min(1, len(votes) - 1))
    return margins.mean(0), (spread / len(votes)).sqrt()


def is_settled(lead: Tensor, error: Tensor, seen: int, left: int) -> Tensor:
    """Return [n] booleans: whether `left` votes more would hardly change who is correct.

    The mean of all votes has to differ from that of the `seen` ones by `SURE` standard errors.
    """
    # One vote of 0 joins those that were seen, lest a few that agree by chance pass for certain.
    spread = error.square() * seen + lead.square() / (seen + 1)
    expected = lead.abs() * (seen + left)
    return expected > SURE * (spread * left * (seen + left) / seen).sqrt()


def _margins(draws: Tensor, joined: Tensor, right: Tensor) -> Tensor:
    """Return float64 [draws, n]: the value of the right class minus the best wrong of `joined`."""
    own = right[:, None]
    rival = joined.scatter(1, own, -torch.inf).argmax(1, keepdim=True)
    pair = draws.gather(2, torch.cat([own, rival], 1).expand(len(draws), -1, -1)).double()
    return pair[..., 0] - pair[..., 1]
