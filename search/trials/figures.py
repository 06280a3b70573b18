"""The figures of a trained net that a search has named, beside its two usual objectives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from torch import nn

from adv import (
    APGD,
    Attack,
    Battery,
    Recipe,
    Score,
    Split,
    Square,
    Worst,
    autoattack,
    autoattack_rand,
    certify,
    evaluate,
    is_random,
    size_of,
)
from adv.evaluation import class_balance
from adv.shape import Shape
from spaces import Scale, certified_radius, is_certified

NEAR = 8 / 255  # the strong judge attacks at the radius of the battery that is nearest to this
SIGMA_PER_RADIUS = 1.0  # noise of the smoothing, relative to the radius that is asked for
CERTIFIED_DRAWS = 1000  # noisy copies of each image; a radius of 2.5 sigma at most


@dataclass(frozen=True)
class Figures:
    """Measures the figures of one net, each only if it is asked for.

    Args:
      recipe: of the net.
      scale: of the trial.
      classes: of the data.
      net: on its device.
      split: on which it was scored.
      score: under the battery of the scale.
      known: figures that are known already: latency, training seconds.
    """

    recipe: Recipe
    scale: Scale
    classes: int
    net: nn.Module
    split: Split
    score: Score
    known: Mapping[str, float]

    def measure(self, names: Iterable[str]) -> dict[str, float]:
        """Return the figures of these names."""
        return {name: self._measure(name) for name in dict.fromkeys(names)}

    def _measure(self, name: str) -> float:
        if name in self.known:
            return self.known[name]
        if is_certified(name):
            radius = certified_radius(name)
            sigma = SIGMA_PER_RADIUS * radius
            found = certify(self.net, self.split, sigma, n=CERTIFIED_DRAWS)
            return found.certified(radius)
        if name == "strong_accuracy":
            return judge_strongly(self.net, self.split, self.scale, self.classes)
        cheap = cheap_figures(self.score, self.split)
        if name in cheap:
            return cheap[name]
        return static_figures(self.recipe, self.classes, self.split.shape)[name]


def cheap_figures(score: Score, split: Split) -> dict[str, float]:
    """Return the figures that follow from a score and the labels of its images."""
    return {
        "natural_accuracy": score.natural_accuracy,
        "attacked_score": score.attacked_score,
        "worst_case": score.worst,
        "robust_area": score.area,
        "balanced_accuracy": balanced_accuracy(score, split),
    }


def balanced_accuracy(score: Score, split: Split) -> float:
    """Return the mean over the classes among the images of the natural accuracy, in [0, 1]."""
    return class_balance.balanced_accuracy(score.ok[0], split.labels[: score.images].cpu())


def static_figures(recipe: Recipe, classes: int, shape: Shape) -> dict[str, float]:
    """Return the figures of a net before it is trained: its parameters and multiply-adds."""
    size = size_of(recipe.net, classes, shape)
    return {"parameters": size.parameters, "multiply_adds": size.multiply_adds}


def judge_strongly(net: nn.Module, split: Split, scale: Scale, classes: int) -> float:
    """Return the accuracy under AutoAttack, of the steps that finalists are attacked with.

    It attacks at the radius of the battery nearest to 8/255; a random net by AutoAttack's version
    for those.
    """
    own = scale.battery()
    ball = min((attack.ball for _, attack in own.attacks), key=lambda ball: abs(ball.eps - NEAR))
    random = is_random(net)
    whole = (autoattack_rand if random else autoattack)(ball, classes)
    attacks = tuple(resize_attack(attack, scale) for _, attack in whole.attacks)
    draws = scale.strong_draws
    judge = Battery((("strong", Worst(attacks)),), draws=draws, votes=own.votes, seed=own.seed)
    return evaluate(net, split, judge).worst


def resize_attack(attack: Attack, scale: Scale) -> Attack:
    """Return an attack with the steps or queries that finalists are attacked with."""
    if isinstance(attack, Worst):
        return Worst(tuple(resize_attack(member, scale) for member in attack.attacks))
    if isinstance(attack, APGD):
        return replace(attack, steps=scale.strong_steps)
    if isinstance(attack, Square):
        return replace(attack, queries=scale.strong_queries)
    return attack
