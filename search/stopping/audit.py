"""What stopping early has cost so far, measured: trials that run on although they would be stopped.

Nothing else can tell whether a rung ranks trials as the end does. The audited ones are a random
share of those that the rule would have stopped, so how often they end on the front estimates how
often stopping is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adv.intervals import wilson
from search.record.pareto import hypervolume
from search.record.trial import Key, Trial
from search.record.view import View
from spaces import OBJECTIVES


@dataclass(frozen=True)
class Agreement:
    """How far a rung ranks trials as the end does.

    `rho` is Spearman's rank correlation of each of `spaces.OBJECTIVES` between the rung and the end
    over the `trials` that have both; None where the values do not differ.
    """

    key: Key
    trials: int
    rho: tuple[float | None, float | None]

    @property
    def least(self) -> float | None:
        """The lower of the two, None where neither is known."""
        known = [value for value in self.rho if value is not None]
        return min(known, default=None)


@dataclass(frozen=True)
class Audit:
    """What is known of the stopping in a study.

    Args:
      stopped: trials that were stopped.
      saved: epochs that they did not train.
      running: audited trials that still run.
      finished: numbers of the audited trials that have finished.
      wrong: of these, the numbers of those on the front.
      regret: share of the hypervolume (above zero in both objectives) that the front would have
        lost without the audited trials, in [0, 1].
      agreement: for each rung, the earliest first.
    """

    stopped: int
    saved: int
    running: int
    finished: tuple[int, ...]
    wrong: tuple[int, ...]
    regret: float
    agreement: tuple[Agreement, ...]

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the share of wrong stops, (0, 1) where nothing is known."""
        n = len(self.finished)
        return wilson(len(self.wrong) / n, n) if n else (0.0, 1.0)


def audit_of(view: View) -> Audit:
    """What the ledger tells of the stopping: how much it saved, how often it was wrong."""
    stopped = view.in_state("stopped")
    finished, wrong = audited(view)
    return Audit(
        stopped=len(stopped),
        saved=sum(_left(trial) for trial in stopped),
        running=sum(trial.audited for trial in view.in_state("running")),
        finished=finished,
        wrong=wrong,
        regret=_regret(view.in_state("finished")),
        agreement=tuple(agreement(view, key) for key in sorted(view.rungs)),
    )


def audited(view: View) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The numbers of the audited trials that have finished, and of those that are on the front."""
    finished = tuple(trial.number for trial in view.in_state("finished") if trial.audited)
    best = {trial.number for trial in view.front()} if finished else set()
    return finished, tuple(number for number in finished if number in best)


def agreement(view: View, key: Key) -> Agreement:
    """How far the rung `key` ranks the trials that have finished as their results do."""
    trials = [view.trials[n] for n in view.rungs.get(key, ())]
    both = [(t.rungs[key].point, t.result.point) for t in trials if t.result]
    rho = [_spearman([a[i] for a, _ in both], [b[i] for _, b in both]) for i in range(2)]
    return Agreement(key, len(both), (rho[0], rho[1]))


def stopping_lines(view: View) -> list[str]:
    """What stopping early has saved and cost, and why the rule was relaxed: a line a fact."""
    return [*audit_lines(audit_of(view)), *(f"Relaxed: {e['reason']}." for e in view.relaxed)]


def audit_lines(audit: Audit) -> list[str]:
    """The audit in words, a line a fact; nothing where no trial was ever stopped or audited."""
    n, wrong = len(audit.finished), len(audit.wrong)
    if not (audit.stopped or n or audit.running):
        return []
    lines = [
        f"{_count(audit.stopped, 'trial')} stopped early, {_count(audit.saved, 'epoch')} saved."
    ]
    if n:
        low, high = audit.interval
        lines.append(
            f"Audited: {_count(n, 'trial')} that would have been stopped ran on; {wrong} of them "
            f"ended on the front, so stopping is wrong in {100 * wrong / n:.0f} % "
            f"({100 * low:.0f} to {100 * high:.0f} %)."
        )
        lines.append(
            f"Regret: without them the hypervolume would be {100 * audit.regret:.2f} % less."
        )
    else:
        lines.append("No audited trial has finished: how often stopping is wrong is not known.")
    for found in audit.agreement:
        values = ", ".join(
            f"{name.replace('_', ' ')} {rho:.2f}"
            for name, rho in zip(OBJECTIVES, found.rho, strict=True)
            if rho is not None
        )
        if values and found.trials > 2:
            lines.append(
                f"Rank correlation of epoch {found.key[0]} and the end, "
                f"{_count(found.trials, 'trial')}: {values}."
            )
    return lines


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _left(trial: Trial) -> int:
    last = trial.epochs[max(trial.epochs)] if trial.epochs else None
    return last.epochs - last.epoch if last else 0


def _regret(done: Sequence[Trial]) -> float:
    points = [(trial.result.point, trial.audited) for trial in done if trial.result]
    whole = hypervolume([point for point, _ in points], (0.0, 0.0))
    rest = hypervolume([point for point, audited in points if not audited], (0.0, 0.0))
    return 1 - rest / whole if whole else 0.0


def _spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    if len(set(a)) < 2 or len(set(b)) < 2:
        return None
    return float(np.corrcoef(_middle_ranks(a), _middle_ranks(b))[0, 1])


def _middle_ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Equal values share the mean of their ranks."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[which])
