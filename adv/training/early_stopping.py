"""Early stopping: evaluate each epoch on held-out images, keep the best one, and stop in time.

Adversarial training overfits late: the last epoch is worse than the best by eight points (Rice et
al. 2020). So a training is kept, and scored, at its best epoch by robust validation accuracy.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from adv.data.datasets import Split
from adv.evaluation.battery import Battery
from adv.evaluation.evaluator import evaluate
from adv.evaluation.score import Score
from adv.runtime.ranks import ALONE, Ranks
from adv.training.loop import Epoch


@dataclass(frozen=True)
class Best:
    """The best epoch so far, and what patience is counted from; plain numbers.

    Args:
      rank: `Score.rank` of the best epoch so far; of equal ones the last is the best.
      epoch: its number, 0 for none.
      rose: the last epoch whose robust accuracy was better than all before.
      seen: the last epoch that was evaluated.
    """

    rank: tuple[float, float] = (-1.0, -1.0)
    epoch: int = 0
    rose: int = 0
    seen: int = 0

    def after(self, number: int, score: Score) -> Best:
        """Return the best epoch once epoch `number` has this score."""
        rose = number if score.rank[0] > self.rank[0] else self.rose
        if score.rank >= self.rank:
            return Best(score.rank, number, rose, number)
        return Best(self.rank, self.epoch, rose, number)

    def out_of_patience(self, patience: int | None) -> bool:
        """Return whether robust accuracy has not improved for `patience` epochs; None: never."""
        return patience is not None and self.seen - self.rose >= patience


@dataclass(frozen=True, eq=False)
class Watched:
    """A validated epoch: the epoch, its validation score, and the best so far, this one included.

    `seconds` is the time of training and validation together.
    """

    epoch: Epoch
    score: Score
    best: Best
    seconds: float

    @property
    def is_best(self) -> bool:
        """True if this is the epoch to keep."""
        return self.best.epoch == self.epoch.number


def watch(
    epochs: Iterator[Epoch],
    split: Split,
    battery: Battery,
    *,
    patience: int | None = None,
    best: Best | None = None,
    ranks: Ranks = ALONE,
) -> Iterator[Watched]:
    """Validate each epoch of `train(...)` under attack, and stop when patience runs out.

    Args:
      epochs: the epochs of `train`; no more are taken than are yielded here.
      split: validation images, which must not be used for the final score.
      battery: a cheap one.
      patience: stop after so many epochs without a better robust accuracy (`Recipe.patience`).
      best: of the last validated epoch, if `epochs` resumes from its state.
      ranks: that train and validate together.

    Yields:
      A `Watched` after each epoch; its net is live, as the epoch's is.
    """
    best = best or Best()
    while not best.out_of_patience(patience) and (epoch := next(epochs, None)) is not None:
        began = time.perf_counter()
        score = evaluate(epoch.net, split, battery, ranks=ranks)
        best = best.after(epoch.number, score)
        yield Watched(epoch, score, best, epoch.seconds + time.perf_counter() - began)
