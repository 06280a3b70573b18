"""The result of an evaluation: a table of images and attacks, and the figures derived from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adv.evaluation.image_table import pack, unpack
from adv.evaluation.score_table import html_table, text_table
from adv.intervals import wilson

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False, repr=False)
class Score:
    """Accuracies of one net under a battery, with 95 % Wilson intervals.

    `print(score)` shows them as a table. Accuracies lie in [0, 1]; larger is better everywhere.

    Args:
      names: the attacks of the battery.
      eps: the radius of each.
      ok: [1 + attacks, n] booleans, which images are correct: row 0 without an attack, then one row
        for each attack in the order of `names`.
      votes: draws of a random net that classify an image; 1 for a deterministic net.
      draws: draws of a random net in each gradient; 1 for a deterministic net.
      adversarial: [attacks, n, c, h, w] float32 in [0, 1] on the CPU, the images that `ok` is
        about, if `evaluate` was asked to keep them. An image that is wrong without an attack is
        unchanged; one fooled in a smaller ball is the one that fooled there.
    """

    names: tuple[str, ...]
    eps: tuple[float, ...]
    ok: Tensor
    votes: int = 1
    draws: int = 1
    adversarial: Tensor | None = None

    def __str__(self) -> str:
        """Return the accuracies with their intervals as a table."""
        return text_table(self.rows, self._describe_images(), self._describe_aggregates())

    def __repr__(self) -> str:
        """Return the main figures in one line; `print(score)` shows all."""
        return (
            f"<Score of {self.images} images: natural {100 * self.natural_accuracy:.1f} %, "
            f"attacked score {self.attacked_score:.1f} of {100 * len(self.names)}>"
        )

    def _repr_html_(self) -> str:
        """Return the table as a notebook shows it."""
        return html_table(self.rows, self._describe_images(), self._describe_aggregates())

    def _describe_images(self) -> str:
        """Return on how many images the score rests, and how a random net was asked."""
        votes = f", {self.draws} draws per gradient, {self.votes} votes" if self.votes > 1 else ""
        return f"{self.images} images, 95 % Wilson intervals{votes}"

    def _describe_aggregates(self) -> str:
        """Return the figures over all attacks, "" where there is only one."""
        if len(self.names) < 2:
            return ""
        low, high = self.attacked_interval
        return (
            f"attacked score {self.attacked_score:.1f} ({low:.1f} to {high:.1f}) of "
            f"{100 * len(self.names)}, worst case {100 * self.worst:.1f} %"
        )

    @property
    def rows(self) -> list[tuple[str, float, float, float, float]]:
        """(attack, eps, accuracy, low, high), "none" first, then by radius, smallest first."""
        names = ["none", *(self.names[i] for i in self.order)]
        return [(name, *point) for name, point in zip(names, self.curve, strict=True)]

    @property
    def images(self) -> int:
        """The number of images."""
        return int(self.ok.shape[1])

    @property
    def natural_accuracy(self) -> float:
        """The accuracy without an attack."""
        return float(self.ok[0].double().mean())

    @property
    def attacked_accuracies(self) -> tuple[float, ...]:
        """The accuracy after each attack of the battery."""
        return tuple(self.ok[1:].double().mean(1).tolist())

    @property
    def attacked_score(self) -> float:
        """The aggregated attacked score: the sum of the attacked accuracies, in percent."""
        return 100 * sum(self.attacked_accuracies)

    @property
    def mean(self) -> float:
        """The mean accuracy over the attacks, comparable between batteries."""
        return sum(self.attacked_accuracies) / len(self.names)

    @property
    def rank(self) -> tuple[float, float]:
        """The key by which the best epoch is chosen: robust accuracy, then natural accuracy."""
        return self.mean, self.natural_accuracy

    @property
    def worst(self) -> float:
        """The accuracy under the worst case over all attacks (Carlini et al. 2019)."""
        return float(self.ok.all(0).double().mean())

    @property
    def order(self) -> list[int]:
        """The indices of the attacks by radius, smallest first; ties in the battery's order."""
        return sorted(range(len(self.eps)), key=self.eps.__getitem__)

    @property
    def area(self) -> float:
        """The area under the robustness curve from eps 0 to the largest eps, divided by the latter.

        An image counts up to the first radius at which it is fooled; trapezoidal rule between
        radii. For a battery over one norm.
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
        """The 95 % interval of `natural_accuracy`."""
        return wilson(self.natural_accuracy, self.images)

    @property
    def attacked_interval(self) -> Interval:
        """The 95 % interval of `attacked_score`: Wilson on the mean per image, conservative."""
        low, high = wilson(self.mean, self.images)
        return 100 * len(self.names) * low, 100 * len(self.names) * high

    @property
    def curve(self) -> list[tuple[float, float, float, float]]:
        """(eps, accuracy, low, high) from eps 0 on, in `order`; for a battery over one norm."""
        shares = self.attacked_accuracies
        rows = [(0.0, self.natural_accuracy), *((self.eps[i], shares[i]) for i in self.order)]
        return [(eps, share, *wilson(share, self.images)) for eps, share in rows]

    def to_dict(self) -> dict[str, Any]:
        """Return the table as plain data for JSON, without the images; see `from_dict`."""
        return {
            "names": list(self.names),
            "eps": list(self.eps),
            "images": self.images,
            "votes": self.votes,
            "draws": self.draws,
            "ok": pack(self.ok.numpy()),
        }

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Score:
        """Return the score that `to_dict` has written."""
        names, eps = tuple(table["names"]), tuple(table["eps"])
        return cls(names, eps, torch.from_numpy(unpack(table)), table["votes"], table["draws"])
