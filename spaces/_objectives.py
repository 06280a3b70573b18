"""The figures of a trial that a search can trade against each other, or bound.

Each has one name, in the ledger, the tables, the report and W&B, with its direction and its unit.
Nothing here imports torch, so that the command line can check names at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from adv.suggestions import suggest_or_list

OBJECTIVES = ("natural_accuracy", "attacked_score")
"""What a search maximises if its user names nothing else."""

CERTIFIED = "certified_accuracy"
_CERTIFIED_RADIUS = 0.25


@dataclass(frozen=True)
class Objective:
    """A figure of a trial.

    Args:
      name: in records.
      text: what it is, in one line.
      unit: as it is shown: "%", "points", "ms", "s" or "" for a count.
      larger: whether larger is better.
      shown: what a recorded value is multiplied by to be shown.
      from_rungs: whether a half-trained net has it too, so that trials can be stopped early by it.
    """

    name: str
    text: str
    unit: str = "%"
    larger: bool = True
    shown: float = 100.0
    from_rungs: bool = False

    @property
    def sign(self) -> int:
        """1 where larger is better, else -1: a value times its sign is maximised."""
        return 1 if self.larger else -1

    @property
    def title(self) -> str:
        """The name with spaces."""
        return self.name.replace("_", " ")

    def format(self, value: float) -> str:
        """Return a recorded value in its unit."""
        number = self.shown * value
        if self.unit == "%":
            return f"{number:.1f} %"
        if self.unit == "points":
            return f"{number:.1f}"
        return f"{number:,.0f}" if self.unit == "" else f"{number:.3g} {self.unit}"


_ALL = (
    Objective("natural_accuracy", "accuracy without an attack", from_rungs=True),
    Objective(
        "attacked_score",
        "sum of the accuracies under the attacks of the battery",
        unit="points",
        shown=1.0,
        from_rungs=True,
    ),
    Objective("worst_case", "accuracy under the worst of all attacks", from_rungs=True),
    Objective("robust_area", "area under the robustness curve, for one norm", from_rungs=True),
    Objective("balanced_accuracy", "mean over the classes of the natural accuracy"),
    Objective(
        "strong_accuracy",
        "accuracy under the strong judge, AutoAttack, at one radius of the battery",
    ),
    Objective(
        CERTIFIED,
        "share of images certified by smoothing at an l2 radius, certified_accuracy:0.5",
    ),
    Objective("parameters", "of the net", unit="", larger=False, shown=1.0, from_rungs=True),
    Objective(
        "multiply_adds",
        "of the net for one image",
        unit="",
        larger=False,
        shown=1.0,
        from_rungs=True,
    ),
    Objective("latency", "time to classify one image", unit="ms", larger=False, shown=1.0),
    Objective("training_seconds", "time to train the net", unit="s", larger=False, shown=1.0),
)
FIGURES: Mapping[str, Objective] = {one.name: one for one in _ALL}
"""Every figure by its name."""

_RADIUS = re.compile(r"certified_accuracy:(?=.*[1-9])\d+(\.\d+)?")


def find_objective(name: str) -> Objective:
    """Return the figure of a name; `certified_accuracy:0.5` has a radius.

    Raises:
      ValueError: there is none; the message suggests the nearest.
    """
    if _RADIUS.fullmatch(name):
        return Objective(name, FIGURES[CERTIFIED].text)
    if name not in FIGURES:
        raise ValueError(f"no objective {name!r}{suggest_or_list(name, FIGURES)}")
    return FIGURES[name]


def certified_radius(name: str) -> float:
    """Return the l2 radius of a certified accuracy, in units of the pixel range [0, 1]."""
    return float(name.partition(":")[2] or _CERTIFIED_RADIUS)


def is_certified(name: str) -> bool:
    """Return whether a figure is a certified accuracy."""
    return name.partition(":")[0] == CERTIFIED


def check_objectives(names: Iterable[str]) -> tuple[str, str]:
    """Return two names of figures.

    Raises:
      ValueError: there are not two different ones, or one is unknown.
    """
    given = tuple(names)
    for name in given:
        find_objective(name)
    if len(given) != 2:
        raise ValueError(f"a search has two objectives, got {len(given)}: {', '.join(given)}")
    if given[0] == given[1]:
        raise ValueError(f"the two objectives are both {given[0]}: name two different ones")
    return given[0], given[1]


def parse_objectives(text: str) -> tuple[str, str]:
    """Return the objectives of a text such as `worst_case,parameters`.

    Raises:
      ValueError: it names no two different figures.
    """
    try:
        return check_objectives(part.strip() for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"--objectives {text!r}: {error}") from None
