"""A trial and its reports, and `Run`: the interface between the search and training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from search.record.run_folder import trial_name
from search.record.trial_result import TrialResult, maximised
from spaces import OBJECTIVES, Params

State = Literal["running", "finished", "stopped", "failed"]
Key = tuple[int, int]


@dataclass(frozen=True)
class Rung:
    """An evaluation of a half-trained net, to compare it with others that are as far trained.

    Args:
      epoch: after which it was evaluated, counted from 1.
      strength: of the training attack in that epoch, as a fraction of its full strength, in [0, 1].
      objectives: those of `spaces.OBJECTIVES` under the reference battery, which is the same for
        all trials, on images that no trial is scored on.
      sds: standard error of each objective, over images.
      table: `adv.Score.to_dict`, by which two trials are compared image by image; None: not known.
      aims: the two objectives that the search trades against each other.
      lr_share: the learning rate in that epoch, as a fraction of the highest of the training, in
        [0, 1]; None: not known.
    """

    epoch: int
    strength: float
    objectives: Mapping[str, float]
    sds: Mapping[str, float] = field(default_factory=dict)
    table: Mapping[str, Any] | None = None
    aims: Sequence[str] = OBJECTIVES
    lr_share: float | None = None

    @property
    def key(self) -> Key:
        """The epoch, and the strength in tenths; only rungs of equal key are compared."""
        return self.epoch, round(10 * self.strength)

    @cached_property
    def point(self) -> tuple[float, float]:
        """Both aims, larger is better: a figure of which less is better has a minus sign."""
        return maximised(self.objectives, self.aims)

    @property
    def sd(self) -> tuple[float, float]:
        """Both standard errors; 0 if one is not known."""
        return self.sds.get(self.aims[0], 0.0), self.sds.get(self.aims[1], 0.0)


@dataclass(frozen=True)
class Decision:
    """The decision at a rung: whether a trial continues.

    Args:
      action: "go on", "stop", or "audit": the trial would be stopped, but runs to completion as a
        check of the stopping rule.
      reason: in words.
    """

    action: Literal["go on", "stop", "audit"]
    reason: str


@dataclass(frozen=True)
class EpochReport:
    """The report of a run after an epoch.

    Args:
      epoch: counted from 1.
      epochs: how many are planned.
      seconds: that the epoch took, validation included.
      metrics: by name.
      result: of the trial, in its last report.
      rung: if the net was evaluated at a rung after this epoch.
    """

    epoch: int
    epochs: int
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    result: TrialResult | None = None
    rung: Rung | None = None

    @property
    def nonfinite(self) -> str:
        """The metrics that are not finite, in words; "" if all are."""
        values = {**self.metrics, **(self.rung.objectives if self.rung else {})}
        return ", ".join(f"{k} is {v}" for k, v in values.items() if not math.isfinite(v))

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> EpochReport:
        """Return the report that `to_json` has written."""
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
"""`run(params, seed, folder)` trains one net and yields a report after each epoch.

It keeps its state in `folder` and resumes from the state that it finds there: reports of earlier
epochs may be yielded again, but no epoch is trained again.
"""


@dataclass
class Trial:
    """A trial, as far as the ledger has recorded it.

    Args:
      number: counted from 0.
      params: its hyperparameters.
      seed: that it is trained with.
      origin: who proposed it: "known", "prior", "sobol", "random", or the name of a sampler or of
        one of the portfolio's proposers; in the finals the number of the trial that is trained
        again.
      state: running, finished, stopped early, or failed.
      epochs: its reports, by epoch.
      rungs: its evaluations at rungs, by key.
      decisions: whether it continued, by key of the rung.
      result: if it has finished; None if its net could not be scored again under the present
        battery.
      earlier: its last result under an earlier battery, if it was re-scored.
      reason: why it failed or was stopped, or finished but has no result.
      lost_net: why the file of its net cannot be used; "" if it can, or nobody has looked.
      starts: how often it was started since its last new epoch, and since the last session that
        ended in order, without the starts that it is excused for.
      started: when it was proposed, in seconds since 1970.
      ended: when it ended; 0: not yet.
      changed: what differed from what the run began with in a session that trained or scored it,
        such as the version of torch, as it was then.
    """

    number: int
    params: Params
    seed: int
    origin: str
    state: State = "running"
    epochs: dict[int, EpochReport] = field(default_factory=dict)
    rungs: dict[Key, Rung] = field(default_factory=dict)
    decisions: dict[Key, Decision] = field(default_factory=dict)
    result: TrialResult | None = None
    earlier: TrialResult | None = None
    reason: str = ""
    lost_net: str = ""
    starts: int = 0
    started: float = 0.0
    ended: float = 0.0
    changed: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """The seconds that training and scoring have taken, over all sessions."""
        known = self.result or self.earlier
        extra = (known.details.evaluate_seconds or 0.0) if known else 0.0
        return sum(report.seconds for report in self.epochs.values()) + extra

    @property
    def audited(self) -> bool:
        """True if the trial runs to completion although a rung would have stopped it."""
        return any(decision.action == "audit" for decision in self.decisions.values())

    @property
    def name(self) -> str:
        """The name of the trial in folders and in Weights & Biases."""
        return trial_name(self.number)

    @property
    def overfitted(self) -> tuple[int, ...]:
        """The epochs with catastrophic overfitting to a one-step training attack."""
        flag = "catastrophic_overfitting"
        return tuple(n for n, report in sorted(self.epochs.items()) if report.metrics.get(flag))

    @property
    def changes(self) -> str:
        """The differences from what the run began with, in words; "" if there are none."""
        return ", ".join(f"{name} {now}" for name, now in self.changed.items())

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks on anything unusual in its training."""
        found = []
        last = self.epochs[max(self.epochs)] if self.epochs else None
        if self.state == "finished" and last and last.epoch < last.epochs:
            found.append(f"ended after {last.epoch} of {last.epochs} epochs")
        if self.overfitted:
            plural = "s" * (len(self.overfitted) > 1)
            found.append(
                f"overfitted to its attack in epoch{plural} {_format_ranges(self.overfitted)}"
            )
        if self.audited:
            found.append("audited: a rung would have stopped it")
        if self.result and self.result.details.remark:
            found.append(self.result.details.remark)
        if self.lost_net:
            found.append(f"its net is lost: {self.lost_net}")
        if self.changed:
            found.append(f"trained or scored with {self.changes}, unlike the start of the run")
        return tuple(found)


def _format_ranges(numbers: Sequence[int]) -> str:
    """Return rising numbers in short: 1, 3 to 5."""
    spans: list[list[int]] = []
    for n in numbers:
        if spans and n == spans[-1][-1] + 1:
            spans[-1][1:] = [n]
        else:
            spans.append([n])
    return ", ".join(" to ".join(map(str, span)) for span in spans)
