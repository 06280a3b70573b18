"""Watch a training: attack held-out images after each epoch, know the best one, stop in time.

Adversarial training overfits late: the last epoch is worse than the best by eight points (Rice et
al. 2020). So a training is kept, and judged, at its best epoch by watched robust accuracy.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from adv.data.datasets import Split
from adv.evaluation.battery import Battery
from adv.evaluation.evaluator import evaluate
from adv.evaluation.score import Score
from adv.training.loop import Epoch


@dataclass(frozen=True)
class Best:
    """What a watcher remembers between epochs; plain numbers.

    Args:
      rank: of the best epoch so far, `Score.rank`; of equal ones the last is the best.
      epoch: its number, 0 for none.
      rose: the last epoch with a better robust accuracy than all before.
      seen: the last epoch that was watched.
    """

    rank: tuple[float, float] = (-1.0, -1.0)
    epoch: int = 0
    rose: int = 0
    seen: int = 0

    def after(self, number: int, score: Score) -> Best:
        """The same when one more epoch has been watched."""
        rose = number if score.rank[0] > self.rank[0] else self.rose
        if score.rank >= self.rank:
            return Best(score.rank, number, rose, number)
        return Best(self.rank, self.epoch, rose, number)

    def tired(self, patience: int | None) -> bool:
        """Whether `patience` epochs have gone by since it last rose."""
        return patience is not None and self.seen - self.rose >= patience


@dataclass(frozen=True, eq=False)
class Watched:
    """An epoch, its score on the watched images, and the best so far, this epoch included.

    `seconds` are what training and watching took.
    """

    epoch: Epoch
    score: Score
    best: Best
    seconds: float

    @property
    def is_best(self) -> bool:
        """Whether this is the epoch to keep."""
        return self.best.epoch == self.epoch.number


def watch(
    epochs: Iterator[Epoch],
    split: Split,
    battery: Battery,
    *,
    patience: int | None = None,
    best: Best | None = None,
) -> Iterator[Watched]:
    """Watch each epoch of `train(...)`.

    Args:
      epochs: what `train` gives; asked for no more than is yielded here.
      split: validation images, which no score of the end uses.
      battery: a cheap one.
      patience: stop after so many epochs without a better robust accuracy (`Recipe.patience`).
      best: of the last epoch that was watched, where `epochs` goes on from its state.

    Yields:
      A `Watched` after each epoch; its net is live, as the epoch's is.
    """
    best = best or Best()
    while not best.tired(patience) and (epoch := next(epochs, None)) is not None:
        began = time.perf_counter()
        score = evaluate(epoch.net, split, battery)
        best = best.after(epoch.number, score)
        yield Watched(epoch, score, best, epoch.seconds + time.perf_counter() - began)
