"""The rungs of one training: when its net is measured half-trained, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from adv import Epoch, Recipe, Score, Split, evaluate
from search.record.trial import Rung
from search.stopping.rung_schedule import rung_epochs
from spaces import Scale


@dataclass(frozen=True)
class Stairs:
    """The rungs of a training.

    Args:
      recipe: of the training.
      scale: its reference battery measures, see `Scale.reference`.
      images: on which; no score of the end uses them.
    """

    recipe: Recipe
    scale: Scale
    images: Split

    @property
    def strengths(self) -> list[float]:
        """Of the planned attack of each epoch: its radius times the share of images it meets."""
        lessons = self.recipe.curriculum.lessons(self.recipe.epochs)
        share = self.recipe.objective.share
        return [lesson.attack.ball.eps * share(lesson) for lesson in lessons]

    @property
    def epochs(self) -> tuple[int, ...]:
        """Those after which the net is measured, counted from 1."""
        return rung_epochs(self.strengths)

    def measure(self, epoch: Epoch) -> Rung:
        """Attack the net of an epoch with the reference battery."""
        score = evaluate(epoch.net, self.images, self.scale.reference())
        return rung(epoch.number, self._reached(epoch.metrics), score)

    def _reached(self, metrics: Mapping[str, float]) -> float:
        """The share of its full strength that the training attack has reached."""
        if "lesson" in metrics:  # CAT climbs by what the net has learned, not by the epoch
            last = self.recipe.curriculum.lessons(1)[0].attack.steps
            return metrics["lesson"] / last if last else 1.0
        full = max(self.strengths)
        return metrics["eps"] * metrics["fraction"] / full if full else 1.0


def rung(epoch: int, strength: float, score: Score) -> Rung:
    """A score as a rung, with the standard errors over its images."""
    each = np.stack([score.ok[0].numpy(), 100.0 * score.ok[1:].numpy().sum(axis=0)])
    errors = each.std(axis=1) / np.sqrt(max(1, score.images - 1))
    return Rung(
        epoch,
        strength,
        {"natural_accuracy": score.natural_accuracy, "attacked_score": score.attacked_score},
        {"natural_accuracy": float(errors[0]), "attacked_score": float(errors[1])},
        score.packed(),
    )
