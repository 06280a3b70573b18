"""The result of a finished trial: both objectives, and all that is recorded beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

from adv.evaluation.table_check import check_table
from search.record import json_records
from search.record.limits import Count, EpochNumber, Range, Seconds, Share, shorten
from spaces import OBJECTIVES, check_objectives, find_objective

Interval = tuple[float, float]
Plain = Mapping[str, Any]
Difference = Annotated[float, Range(-1, 1)]  # of two shares
Radius = Annotated[float, Range(0, 1e6)]


@dataclass(frozen=True)
class MaskingGap:
    """The drop of a net's accuracy under a stronger attack: a sign of masked gradients.

    Args:
      gap: `claimed - strong`, in [0, 1].
      interval: of the gap, at 95 %.
      flagged: whether the whole interval lies above the limit, or gradients are wrong.
      eps: radius of the attacks; None: the mean over the radii of the battery.
      claimed: accuracy under the battery of the search, in [0, 1].
      strong: accuracy under the stronger attack, in [0, 1].
      images: on which both were measured.
      limit: the largest gap that is expected of a sound net of this accuracy, in [0, 1].
      wrong_gradients: share of images whose gradient differs from finite differences, in [0, 1].
      extra: keys that this version does not know.

    Raises:
      FieldError: a value is not of its field's type.
    """

    gap: Difference
    interval: tuple[Difference, Difference]
    flagged: bool | None = None
    eps: Radius | None = None
    claimed: Share | None = None
    strong: Share | None = None
    images: Count | None = None
    limit: Share | None = None
    wrong_gradients: Share | None = None
    extra: Plain = field(default_factory=dict)

    def __post_init__(self) -> None:
        json_records.check(self)
        check_interval(self.interval, "interval")


@dataclass(frozen=True)
class ResultDetails:
    """All that is recorded of a finished trial beside its objectives; None: not recorded.

    Args:
      curve: a row for each radius: eps, accuracy in [0, 1], and the ends of its 95 % interval.
      mean: of the attacked accuracies, in [0, 1].
      worst: the lowest attacked accuracy, in [0, 1].
      aurc: area under the robustness curve, in [0, 1].
      images: on which the trial was scored.
      votes: draws of a random net that vote on an image; 1 for other nets.
      draws: samples per gradient of the attack on a random net; 1 for other nets.
      random: whether the net is random.
      table: which image stands up to which attack, `adv.Score.to_dict`.
      best_epoch: that was kept and scored, counted from 1.
      last: objectives of the last epoch.
      parameters: of the net.
      latency: milliseconds to classify one image.
      weights: path of the checkpoint, relative to the run folder.
      weights_sha256: of that file, 64 hex digits.
      remark: what was unusual about the training, such as a state that was damaged.
      masking_gap: how much a stronger attack takes from the accuracy.
      evaluate_seconds: time that scoring took.
      validation: of a finalist: objectives on the images and under the battery of the search.
      claimed: of a finalist: objectives on the test images under the battery of the search.
      battery: of a finalist: id of the battery that scored it.
      extra: keys that this version does not know.

    Raises:
      FieldError: a value is not of its field's type.
    """

    curve: Sequence[Sequence[float]] | None = None
    mean: Share | None = None
    worst: Share | None = None
    aurc: Share | None = None
    images: Count | None = None
    votes: Count | None = None
    draws: Count | None = None
    random: bool | None = None
    table: Plain | None = None
    best_epoch: EpochNumber | None = None
    last: Mapping[str, float] | None = None
    parameters: Count | None = None
    latency: Seconds | None = None
    weights: str | None = None
    weights_sha256: str | None = None
    remark: str | None = None
    masking_gap: MaskingGap | None = None
    evaluate_seconds: Seconds | None = None
    validation: Mapping[str, float] | None = None
    claimed: Mapping[str, float] | None = None
    battery: str | None = None
    extra: Plain = field(default_factory=dict)

    def __post_init__(self) -> None:
        json_records.check(self)
        for row in self.curve or ():
            _check_curve_row(row)
        if self.table:
            try:
                check_table(self.table)
            except ValueError as error:
                raise json_records.FieldError(f"key 'table': {error}") from None

    @classmethod
    def from_json(cls, plain: Plain) -> ResultDetails:
        """Return the details that a JSON object holds.

        Raises:
          FieldError: a value is not of its field's type.
        """
        return json_records.from_json(cls, plain)

    def to_json(self) -> dict[str, Any]:
        """Return the details that were recorded, under the ledger's keys."""
        return json_records.to_json(self)


@dataclass(frozen=True)
class TrialResult:
    """The result of a finished trial.

    Args:
      objectives: figures by their names in `spaces.FIGURES`, as they are recorded: natural accuracy
        in [0, 1], the aggregated attacked score, a sum of accuracies in percent, and those that
        the search has named.
      intervals: the 95 % interval of each, where it is known.
      details: what is recorded beside them.
      aims: the two that the search trades against each other.

    Raises:
      ValueError: an objective is missing, or is not finite.
    """

    objectives: Mapping[str, float]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    details: ResultDetails = field(default_factory=ResultDetails)
    aims: tuple[str, str] = OBJECTIVES

    def __post_init__(self) -> None:
        for name in dict.fromkeys((*OBJECTIVES, *self.aims)):
            value = self.objectives.get(name)
            if value is None or not math.isfinite(value):
                raise ValueError(f"{name} is {value}, not a finite number")

    @cached_property  # a decision of the stopper looks at those of all trials
    def point(self) -> tuple[float, float]:
        """Both aims, larger is better: a figure of which less is better has a minus sign."""
        return maximised(self.objectives, self.aims)

    @classmethod
    def from_json(cls, plain: Plain) -> TrialResult:
        """Return the result that a `finished` event or another JSON object holds.

        Raises:
          FieldError: a key is missing, or a value is of another type.
          ValueError: an objective is missing, or is not finite.
        """
        pairs = json_records.read_key(plain, "intervals", Mapping[str, Any])
        intervals = {name: json_records.read_key(pairs, name, Interval) for name in pairs}
        for name, interval in intervals.items():
            check_interval(interval, name)
        return cls(
            json_records.read_key(plain, "objectives", Mapping[str, float]),
            intervals,
            json_records.read_key(plain, "details", ResultDetails),
            read_aims(plain),
        )

    def to_json(self) -> dict[str, Any]:
        """Return `objectives`, `intervals` and `details` as plain data."""
        return {
            "objectives": dict(self.objectives),
            "intervals": dict(self.intervals),
            "details": self.details.to_json(),
            **({} if self.aims == OBJECTIVES else {"aims": list(self.aims)}),
        }


def maximised(values: Mapping[str, float], aims: Sequence[str]) -> tuple[float, float]:
    """Return two figures, larger is better: one of which less is better has a minus sign."""
    first, second = (find_objective(name).sign * values[name] for name in aims)
    return first, second


def read_aims(plain: Plain) -> tuple[str, str]:
    """Return the two objectives that a JSON object names, or the usual ones.

    Raises:
      FieldError: it names something else.
    """
    if "aims" not in plain:
        return OBJECTIVES
    try:
        return check_objectives(json_records.read_key(plain, "aims", Sequence[str]))
    except ValueError as error:
        raise json_records.FieldError(f"key 'aims': {error}") from None


def check_interval(interval: Interval, key: str) -> None:
    """Raise FieldError unless the first end of an interval is the lower one."""
    if interval[0] > interval[1]:
        raise json_records.FieldError(
            f"key {key!r} holds {list(interval)}, not the lower and then the upper end"
        )


def _check_curve_row(row: Sequence[float]) -> None:
    """Raise FieldError unless a row is a radius, an accuracy, and the ends of its interval."""
    accuracies = row[1:]
    if len(row) != 4 or row[0] < 0 or not all(0 <= value <= 1 for value in accuracies):
        raise json_records.FieldError(
            f"key 'curve' holds a row {shorten(list(row))}, not a radius and three numbers "
            "from 0 to 1"
        )
