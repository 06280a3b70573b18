"""The result of a finished trial: both objectives, and all that is recorded beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search.record import json_records
from spaces import OBJECTIVES

Interval = tuple[float, float]
Plain = Mapping[str, Any]


@dataclass(frozen=True)
class MaskingGap:
    """The drop of a net's accuracy under a stronger attack: a sign of masked gradients.

    Args:
      gap: `claimed - strong`, in [0, 1].
      interval: of the gap, at 95 %.
      flagged: whether the whole interval lies above the limit.
      eps: radius of the attacks; None: the mean over the radii of the battery.
      claimed: accuracy under the battery of the search, in [0, 1].
      strong: accuracy under the stronger attack, in [0, 1].
      images: on which both were measured.
      extra: keys that this version does not know.

    Raises:
      FieldError: a value is not of its field's type.
    """

    gap: float
    interval: Interval
    flagged: bool | None = None
    eps: float | None = None
    claimed: float | None = None
    strong: float | None = None
    images: int | None = None
    extra: Plain = field(default_factory=dict)

    def __post_init__(self) -> None:
        json_records.check(self)


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
    mean: float | None = None
    worst: float | None = None
    aurc: float | None = None
    images: int | None = None
    votes: int | None = None
    draws: int | None = None
    random: bool | None = None
    table: Plain | None = None
    best_epoch: int | None = None
    last: Mapping[str, float] | None = None
    parameters: int | None = None
    latency: float | None = None
    weights: str | None = None
    weights_sha256: str | None = None
    remark: str | None = None
    masking_gap: MaskingGap | None = None
    evaluate_seconds: float | None = None
    validation: Mapping[str, float] | None = None
    claimed: Mapping[str, float] | None = None
    battery: str | None = None
    extra: Plain = field(default_factory=dict)

    def __post_init__(self) -> None:
        json_records.check(self)

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
      objectives: a value for each of `spaces.OBJECTIVES`, larger is better: natural accuracy in
        [0, 1], and the aggregated attacked score, a sum of accuracies in percent.
      intervals: the 95 % interval of each, where it is known.
      details: what is recorded beside them.

    Raises:
      ValueError: an objective is missing, or is not finite.
    """

    objectives: Mapping[str, float]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    details: ResultDetails = field(default_factory=ResultDetails)

    def __post_init__(self) -> None:
        for name in OBJECTIVES:
            value = self.objectives.get(name)
            if value is None or not math.isfinite(value):
                raise ValueError(f"{name} is {value}, not a finite number")

    @property
    def point(self) -> tuple[float, float]:
        """Both objectives, in the order of `spaces.OBJECTIVES`."""
        return self.objectives[OBJECTIVES[0]], self.objectives[OBJECTIVES[1]]

    @classmethod
    def from_json(cls, plain: Plain) -> TrialResult:
        """Return the result that a `finished` event or another JSON object holds.

        Raises:
          FieldError: a key is missing, or a value is of another type.
          ValueError: an objective is missing, or is not finite.
        """
        pairs = json_records.read_key(plain, "intervals", Mapping[str, Any])
        return cls(
            json_records.read_key(plain, "objectives", Mapping[str, Any]),
            {name: json_records.read_key(pairs, name, Interval) for name in pairs},
            json_records.read_key(plain, "details", ResultDetails),
        )

    def to_json(self) -> dict[str, Any]:
        """Return `objectives`, `intervals` and `details` as plain data."""
        return {
            "objectives": dict(self.objectives),
            "intervals": dict(self.intervals),
            "details": self.details.to_json(),
        }
