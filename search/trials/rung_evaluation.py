"""Evaluation of half-trained nets at rungs, where a trial may be stopped early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from adv import Epoch, Recipe, Score, Split, evaluate
from adv.evaluation.image_table import per_image_objectives
from adv.runtime.ranks import ALONE, Ranks
from adv.training.schedules import value_at
from search.record.trial import Rung
from search.stopping.rung_schedule import rung_epochs
from spaces import OBJECTIVES, Scale


@dataclass(frozen=True)
class RungEvaluator:
    """Evaluates the net of one training at its rungs.

    Args:
      recipe: of the training.
      scale: whose reference battery attacks the net, see `Scale.reference`.
      images: to evaluate on; no final score uses them.
      aims: the two objectives of the search.
      known: figures of the net that do not depend on its weights.
      ranks: that evaluate together.
    """

    recipe: Recipe
    scale: Scale
    images: Split
    aims: tuple[str, str] = OBJECTIVES
    known: Mapping[str, float] = field(default_factory=dict)
    ranks: Ranks = ALONE

    @property
    def strengths(self) -> list[float]:
        """The planned attack of each epoch: its radius times the fraction of images attacked."""
        lessons = self.recipe.curriculum.lessons(self.recipe.epochs)
        attacked_share = self.recipe.objective.attacked_share
        return [lesson.attack.ball.eps * attacked_share(lesson) for lesson in lessons]

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs after which the net is evaluated, counted from 1."""
        return rung_epochs(self.strengths, lr=self.learning_rates)

    @property
    def learning_rates(self) -> list[float]:
        """The learning rate in the middle of each epoch, as a fraction of the largest."""
        epochs, decay = self.recipe.epochs, self.recipe.optimizer.decay
        rates = [value_at(decay, (n + 0.5) / epochs) for n in range(epochs)]
        highest = max(rates, default=0.0)
        return [rate / highest if highest else 1.0 for rate in rates]

    def measure(self, epoch: Epoch) -> Rung:
        """Attack the net of an epoch with the reference battery."""
        score = evaluate(epoch.net, self.images, self.scale.reference(), ranks=self.ranks)
        strength = self._compute_strength(epoch.metrics)
        rung = make_rung(epoch.number, strength, score, self.aims, self.known)
        return replace(rung, lr_share=self.learning_rates[epoch.number - 1])

    def _compute_strength(self, metrics: Mapping[str, float]) -> float:
        """Return the fraction of its full strength that the training attack has reached."""
        if "lesson" in metrics:  # CAT advances by what the net has learned, not by the epoch
            last = self.recipe.curriculum.lessons(1)[0].attack.steps
            return metrics["lesson"] / last if last else 1.0
        full = max(self.strengths)
        return metrics["eps"] * metrics["fraction"] / full if full else 1.0


def make_rung(
    epoch: int,
    strength: float,
    score: Score,
    aims: tuple[str, str] = OBJECTIVES,
    known: Mapping[str, float] | None = None,
) -> Rung:
    """Return a score as a rung, with the standard errors over its images.

    Args:
      epoch: after which the net was evaluated.
      strength: of the training attack, in [0, 1].
      score: of the net.
      aims: the two objectives of the search.
      known: figures that are none of the images'.
    """
    table = score.to_dict()
    names = tuple(dict.fromkeys((*OBJECTIVES, *aims)))
    each = per_image_objectives(table, names)
    errors = each.std(axis=1) / np.sqrt(max(1, score.images - 1))
    values = dict(zip(names, each.mean(axis=1).tolist(), strict=True)) | dict(known or {})
    values |= {
        "natural_accuracy": score.natural_accuracy,
        "attacked_score": score.attacked_score,
    }
    return Rung(
        epoch,
        strength,
        {name: values[name] for name in names},
        dict(zip(names, errors.tolist(), strict=True)),
        table,
        aims,
    )
