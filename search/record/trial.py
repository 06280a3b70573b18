"""What a trial is, and the seam `Run` behind which all training lies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from search.record.trial_result import TrialResult
from spaces import OBJECTIVES, Params

State = Literal["running", "finished", "stopped", "failed"]
Key = tuple[int, int]


@dataclass(frozen=True)
class Rung:
    """How good a half-trained net is, so that it can be compared with others as far trained.

    `strength` is the share of the full strength of its own training attack that it has met so far,
    in [0, 1]. `objectives` are those of `spaces.OBJECTIVES` under the reference battery, the same
    for all trials, on images that no trial is scored by. `sds` holds the standard error of each
    (over images). `table`, where there is one, is `adv.Score.to_dict`, which allows comparing two
    trials in pairs.
    """

    epoch: int
    strength: float
    objectives: Mapping[str, float]
    sds: Mapping[str, float] = field(default_factory=dict)
    table: Mapping[str, Any] | None = None

    @property
    def key(self) -> Key:
        """What two rungs must share to be compared: the epoch, and the strength in tenths."""
        return self.epoch, round(10 * self.strength)

    @property
    def point(self) -> tuple[float, float]:
        """Both objectives, in the order of `spaces.OBJECTIVES`."""
        return self.objectives[OBJECTIVES[0]], self.objectives[OBJECTIVES[1]]

    @property
    def sd(self) -> tuple[float, float]:
        """Both standard errors, 0 where one is not known."""
        return self.sds.get(OBJECTIVES[0], 0.0), self.sds.get(OBJECTIVES[1], 0.0)


@dataclass(frozen=True)
class Decision:
    """What becomes of a trial at a rung, and why, in words.

    "audit" is a trial that would be stopped, but runs on to show whether stopping is right.
    """

    action: Literal["go on", "stop", "audit"]
    reason: str


@dataclass(frozen=True)
class EpochReport:
    """What a run says after an epoch, counted from 1; the last one carries the `result`.

    Some epochs carry a `rung` too.
    """

    epoch: int
    epochs: int
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    result: TrialResult | None = None
    rung: Rung | None = None

    @property
    def nonfinite(self) -> str:
        """The metrics that are not finite, "" where all are."""
        said = {**self.metrics, **(self.rung.objectives if self.rung else {})}
        return ", ".join(f"{k} is {v}" for k, v in said.items() if not math.isfinite(v))

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> EpochReport:
        """Return the report that `to_json` made plain."""
        result, rung = plain.get("result"), plain.get("rung")
        return cls(
            plain["epoch"],
            plain["epochs"],
            plain["seconds"],
            plain["metrics"],
            TrialResult.from_json(result) if result else None,
            Rung(**rung) if rung else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "epoch": self.epoch,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "metrics": dict(self.metrics),
            "result": self.result.to_json() if self.result else None,
            "rung": asdict(self.rung) if self.rung else None,
        }


Run = Callable[[Params, int, Path], Iterator[EpochReport]]
"""`run(params, seed, folder)`: train one net. It keeps its state in `folder` and goes on from the
state that it finds there: the epochs told before may be told again, none is trained again."""


@dataclass
class Trial:
    """A trial as the ledger's events make it."""

    number: int
    params: Params
    seed: int
    origin: str
    state: State = "running"
    epochs: dict[int, EpochReport] = field(default_factory=dict)
    rungs: dict[Key, Rung] = field(default_factory=dict)
    decisions: dict[Key, Decision] = field(default_factory=dict)
    result: TrialResult | None = None
    reason: str = ""
    started: float = 0.0
    ended: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training and attacking that this trial has taken, resumed parts included."""
        extra = (self.result.details.evaluate_seconds or 0.0) if self.result else 0.0
        return sum(values.seconds for values in self.epochs.values()) + extra

    @property
    def audited(self) -> bool:
        """Whether it runs, or ran, although a rung would have stopped it."""
        return any(decision.action == "audit" for decision in self.decisions.values())

    @property
    def name(self) -> str:
        """The trial's name in folders and in Weights & Biases."""
        return f"{self.number:04d}"

    @property
    def overfitted(self) -> tuple[int, ...]:
        """The epochs after which training on one-step attacks had overfitted catastrophically."""
        flag = "catastrophic_overfitting"
        return tuple(n for n, values in sorted(self.epochs.items()) if values.metrics.get(flag))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader should know of how its training went."""
        said = []
        last = self.epochs[max(self.epochs)] if self.epochs else None
        if self.state == "finished" and last and last.epoch < last.epochs:
            said.append(f"ended after {last.epoch} of {last.epochs} epochs")
        if self.overfitted:
            plural = "s" * (len(self.overfitted) > 1)
            said.append(f"overfitted to its attack in epoch{plural} {_spans(self.overfitted)}")
        if self.audited:
            said.append("audited: a rung would have stopped it")
        return tuple(said)


def _spans(numbers: Sequence[int]) -> str:
    """Rising numbers in short: 1, 3 to 5."""
    spans: list[list[int]] = []
    for n in numbers:
        if spans and n == spans[-1][-1] + 1:
            spans[-1][1:] = [n]
        else:
            spans.append([n])
    return ", ".join(" to ".join(map(str, span)) for span in spans)
