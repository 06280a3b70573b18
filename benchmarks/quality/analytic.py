"""Problems whose front is known in closed form, with noise and a curriculum's bias.

Each has a hyperparameter `trade` that moves along the front, and others that only cost: with `d`
the squared distance of those from their best values (which move with `trade`), both objectives lose
in proportion to d / (1 + d), so the front is where d = 0. A trial reports both objectives after
each of 27 epochs, with noise (standard deviation .006 and 1.5 points of 100; half of its variance
is drawn once per trial, half per epoch). The training attack grows over the first 60 % of the
epochs; until then the robust score lacks an amount that depends on the configuration, so that
half-trained trials rank differently than finished ones: the rank correlation with the final robust
score is about .9 after 3 epochs and .95 after 9 in "mild" problems, and about .5 and .8 in "hard"
ones. "net-mild-good-prior" and "net-mild-bad-prior" give the rates and the decay priors, with their
centres on the best values or two spreads away from them.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from search.record.pareto import hypervolume
from search.record.trial import EpochReport, Rung
from search.record.trial_result import TrialResult
from search.replay.search_quality import Point, TrueFront
from search.stopping.rung_schedule import rung_epochs
from spaces import Choice, Float, Int, Params, Prior, Space

EPOCHS = 27
NOISE = (0.006, 0.015)  # standard deviations, both in [0, 1]
GROWN = 0.6  # share of the epochs until the attack has its full strength
LAG = {"mild": 0.25, "hard": 0.5}
STEEP = 0.5


def no_recipe(**params: Any) -> Any:
    """Refuse to build a recipe: a formula trains nothing."""
    raise NotImplementedError("a formula trains nothing")


# Mixed and conditional, as a space of nets: an optimiser with settings of its own.
_ADAM, _SGD = {"optimizer": "adam"}, {"optimizer": "sgd"}
NET = Space(
    "which net, by a formula?",
    {
        "trade": Float(0.0, 1.0),
        "optimizer": Choice(("sgd", "adam")),
        "sgd_lr": Float(1e-3, 1.0, log=True, when=_SGD),
        "momentum": Float(0.5, 0.99, when=_SGD),
        "adam_lr": Float(1e-5, 1e-1, log=True, when=_ADAM),
        "decay": Float(1e-6, 1e-2, log=True),
        "width": Int(1, 8),
        "act": Choice(("relu", "silu", "tanh")),
    },
    no_recipe,
    (
        {
            "trade": 0.5,
            "optimizer": "adam",
            "adam_lr": 1e-3,
            "decay": 1e-5,
            "width": 4,
            "act": "relu",
        },
    ),
)


def _with_priors(space: Space, away: float) -> Space:
    """Return the space with priors of a factor of 3, `away` spreads from the best values."""
    best = {"sgd_lr": 10**-0.95, "adam_lr": 1e-3, "decay": 1e-4}
    knobs = {
        name: replace(space.knobs[name], prior=Prior(value / 3**away, 3.0))
        for name, value in best.items()
    }
    return replace(space, knobs={**space.knobs, **knobs})


def _cubed(knobs: int) -> Space:
    names = ("trade", *(f"x{i}" for i in range(knobs - 1)))
    return Space("which point of a cube?", {n: Float(0.0, 1.0) for n in names}, no_recipe)


FLAT, WIDE = _cubed(5), _cubed(7)


def _net(p: Params) -> float:
    u = float(p["trade"])
    if p["optimizer"] == "sgd":
        d = 0.9 * (np.log10(p["sgd_lr"]) + 1.2 - 0.5 * u) ** 2  # type: ignore[arg-type]
        d += 6 * (float(p["momentum"]) - 0.9) ** 2
    else:
        d = 0.08 + 0.9 * (np.log10(p["adam_lr"]) + 3.2 - 0.4 * u) ** 2  # type: ignore[arg-type]
    d += 0.15 * (np.log10(p["decay"]) + 3.5 + u) ** 2  # type: ignore[arg-type]
    d += 0.5 * ((8 - int(p["width"])) / 7) ** 2
    return float(d + {"relu": 0.06, "silu": 0.0, "tanh": 0.3}[str(p["act"])])


def _cube(p: Params) -> float:
    """Return d; best values differ by hyperparameter and move with `trade`; neighbours interact."""
    u, x = float(p["trade"]), [float(v) for k, v in p.items() if k != "trade"]
    off = [v - (0.2 + 0.15 * i % 0.7 + 0.25 * u * (-1) ** i) for i, v in enumerate(x)]
    d = sum(o * o for o in off) + sum(0.6 * a * b for a, b in itertools.pairwise(off))
    return 9 * float(d) / len(x)


@dataclass(frozen=True)
class Analytic:
    """A problem.

    Args:
      shape: "net" (mixed and conditional), "flat" (5 numbers) or "wide" (7 numbers).
      bias: "mild" or "hard".
      epochs: of a trial.
      prior: of "net", "good" or "bad"; "" has none.
    """

    shape: str
    bias: str
    epochs: int = EPOCHS
    prior: str = ""

    @property
    def name(self) -> str:
        return f"{self.shape}-{self.bias}" + (f"-{self.prior}-prior" if self.prior else "")

    @property
    def group(self) -> str:
        """The group of problems over which ratios are averaged."""
        return self.bias

    @property
    def space(self) -> Space:
        if self.prior:
            return _with_priors(NET, 0.0 if self.prior == "good" else 2.0)
        return {"net": NET, "flat": FLAT, "wide": WIDE}[self.shape]

    def true_objectives(self, params: Params) -> Point:
        """Return both objectives after all epochs, without noise."""
        d = _net(params) if self.shape == "net" else _cube(params)
        return self._point(float(params["trade"]), d / (1 + d))

    def point_on_front(self, trade: float) -> Point:
        """Return both objectives of a point on the true front; `trade` is in [0, 1]."""
        return self._point(trade, 0.0)

    def _point(self, u: float, lost: float) -> Point:
        if self.shape == "wide":  # sagging: no weighted sum finds the middle of this front
            natural, robust = 0.55 + 0.4 * (1 - u**0.6), 0.15 + 0.4 * u**1.3
        else:
            natural, robust = 0.95 - 0.35 * u**1.5, 0.15 + 0.4 * u**0.6
        return natural - 0.25 * lost, 100 * (robust - 0.2 * lost)

    def true_front(self) -> TrueFront:
        """Return the front, where nothing is lost, above a reference point of no accuracy."""
        points = [self.point_on_front(float(u)) for u in np.linspace(0, 1, 4001)]
        return TrueFront(self.true_objectives, (0.0, 0.0), hypervolume(points, (0.0, 0.0)))

    def lag(self, params: Params) -> float:
        """Return how much robust accuracy is missing while the attack is weak, in [0, 1]."""
        u = float(params["trade"])
        if self.shape == "net":
            other = float(params["width"]) / 8 if params["optimizer"] == "sgd" else 0.3
        else:
            other = float(params["x0"])
        return 0.6 * u + 0.4 * other

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        """Yield both objectives after each epoch, and the result with the last one."""
        rng = np.random.default_rng((seed, zlib.crc32(self.name.encode())))
        scale = np.asarray(NOISE) * (0.5**0.5)
        once = rng.normal(0.0, scale)
        natural, robust = self.true_objectives(params)
        rungs = rung_epochs([min(1.0, n / self.epochs / GROWN) for n in range(1, self.epochs + 1)])
        for epoch in range(1, self.epochs + 1):
            t = epoch / self.epochs
            weak = max(0.0, 1 - t / GROWN)
            fresh = once + rng.normal(0.0, scale)
            clean = natural - 0.3 * np.exp(-6 * t) + 0.08 * weak * float(params["trade"]) + fresh[0]
            hit = (
                robust / 100
                - 0.1 * np.exp(-4 * t)
                - LAG[self.bias] * weak**STEEP * self.lag(params)
            )
            values = {"watched_natural": float(clean), "watched_robust": float(hit + fresh[1])}
            rung = Rung(
                epoch,
                min(1.0, t / GROWN),
                {"natural_accuracy": float(clean), "attacked_score": float(100 * (hit + fresh[1]))},
                {"natural_accuracy": NOISE[0], "attacked_score": 100 * NOISE[1]},
            )
            result = None
            if epoch == self.epochs:
                result = TrialResult(
                    {
                        "natural_accuracy": float(natural + fresh[0]),
                        "attacked_score": float(robust + 100 * fresh[1]),
                    }
                )
            yield EpochReport(
                epoch, self.epochs, 1.0, values, result, rung if epoch in rungs else None
            )
