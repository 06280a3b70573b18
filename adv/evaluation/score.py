"""What an evaluation found: a table of images against attacks, and everything derived from it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adv.intervals import wilson

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Score:
    """Accuracies of one net under a battery, with 95 % Wilson intervals.

    `ok` [1 + attacks, n] says which image is right: row 0 without an attack, then one row for each
    attack in the order of `names`. Accuracies lie in [0, 1]; larger is better everywhere.
    `adversarial` [attacks, n, c, h, w], float32 in [0, 1] on the CPU, are the images that these
    verdicts are about, if `evaluate` was asked to keep them: an image that is wrong without an
    attack stands there unchanged, one fooled in a smaller ball as it was fooled there.
    """

    names: tuple[str, ...]
    eps: tuple[float, ...]
    ok: Tensor
    votes: int = 1
    draws: int = 1
    adversarial: Tensor | None = None

    @property
    def images(self) -> int:
        """How many images were judged."""
        return int(self.ok.shape[1])

    @property
    def natural_accuracy(self) -> float:
        """Accuracy without an attack."""
        return float(self.ok[0].double().mean())

    @property
    def attacked_accuracies(self) -> tuple[float, ...]:
        """Accuracy after each attack of the battery."""
        return tuple(self.ok[1:].double().mean(1).tolist())

    @property
    def attacked_score(self) -> float:
        """The aggregated attacked score: the sum of the attacked accuracies, in percent points."""
        return 100 * sum(self.attacked_accuracies)

    @property
    def mean(self) -> float:
        """Mean accuracy over the attacks, comparable between batteries."""
        return sum(self.attacked_accuracies) / len(self.names)

    @property
    def rank(self) -> tuple[float, float]:
        """What the best epoch of a training is chosen by: robust first, then natural accuracy."""
        return self.mean, self.natural_accuracy

    @property
    def worst(self) -> float:
        """Share of the images that stand against every attack (Carlini et al. 2019)."""
        return float(self.ok.all(0).double().mean())

    @property
    def order(self) -> list[int]:
        """The attacks' indices, smaller balls first, of equal ones in the order of the battery."""
        return sorted(range(len(self.eps)), key=self.eps.__getitem__)

    @property
    def area(self) -> float:
        """Area under the robustness curve from eps 0 to the largest, divided by the largest.

        An image counts up to the first radius at which it is fooled; trapezoids between radii.
        For a battery over one norm.
        """
        radii = np.array([0.0, *(self.eps[i] for i in self.order)])
        rows = [0, *(1 + i for i in self.order)]
        standing = np.minimum.accumulate(self.ok[rows].numpy(), axis=0)
        if radii[-1] == 0:
            return self.natural_accuracy
        last = np.append(np.diff(radii) > 0, True)  # of several attacks at one radius
        return float(np.trapezoid(standing.mean(1)[last], radii[last]) / radii[-1])

    @property
    def natural_interval(self) -> Interval:
        """Of `natural_accuracy`."""
        return wilson(self.natural_accuracy, self.images)

    @property
    def attacked_interval(self) -> Interval:
        """Of `attacked_score`: Wilson on each image's mean over the battery, on the safe side."""
        low, high = wilson(self.mean, self.images)
        return 100 * len(self.names) * low, 100 * len(self.names) * high

    @property
    def curve(self) -> list[tuple[float, float, float, float]]:
        """(eps, accuracy, low, high) from eps 0 on in `order`, for a battery over one norm."""
        shares = self.attacked_accuracies
        rows = [(0.0, self.natural_accuracy), *((self.eps[i], shares[i]) for i in self.order)]
        return [(eps, share, *wilson(share, self.images)) for eps, share in rows]

    def packed(self) -> dict[str, Any]:
        """The table as plain data; `unpacked` reads it back."""
        bits = np.packbits(self.ok.numpy())
        return {
            "names": list(self.names),
            "eps": list(self.eps),
            "images": self.images,
            "votes": self.votes,
            "draws": self.draws,
            "ok": base64.b64encode(bits.tobytes()).decode(),
        }


def unpacked(plain: dict[str, Any]) -> Score:
    """The score that `Score.packed` wrote."""
    names, eps = tuple(plain["names"]), tuple(plain["eps"])
    shape = (1 + len(names), int(plain["images"]))
    bits = np.frombuffer(base64.b64decode(plain["ok"]), dtype=np.uint8)
    ok = np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)
    return Score(names, eps, torch.from_numpy(ok), plain["votes"], plain["draws"])
