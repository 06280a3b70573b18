"""The audit: how often early stopping is wrong, measured on trials that run on although stopped.

Only trials that run to completion show whether a rung ranks trials as the end does. The audited
trials are a random share of those that the rule would have stopped, so the share of them that ends
on the front estimates how often stopping is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adv.intervals import Z95, wilson
from search.formatting import count
from search.record.pareto import hypervolume
from search.record.trial import Key, Trial
from search.record.view import View
from spaces import OBJECTIVES


@dataclass(frozen=True)
class RankAgreement:
    """How well the ranking of trials at a rung agrees with their ranking at the end.

    Args:
      key: of the rung.
      trials: how many have both a value at the rung and a final one.
      rho: Spearman's rank correlation for each of the two objectives; None if all values are
        equal.
    """

    key: Key
    trials: int
    rho: tuple[float | None, float | None]
    aims: tuple[str, str] = OBJECTIVES

    @property
    def lower_rho(self) -> float | None:
        """The lower of both correlations, None if neither is known."""
        known = [value for value in self.rho if value is not None]
        return min(known, default=None)


@dataclass(frozen=True)
class StoppingAudit:
    """The savings and the cost of early stopping in a study so far.

    Args:
      stopped: how many trials were stopped.
      saved: how many epochs these did not train.
      running: how many audited trials still run.
      finished: numbers of the audited trials that have finished.
      wrong: numbers of those among `finished` that are on the front.
      regret: share of the hypervolume (above zero in both objectives) that the front would lose
        without the audited trials, in [0, 1].
      agreement: of each rung, the earliest first.
    """

    stopped: int
    saved: int
    running: int
    finished: tuple[int, ...]
    wrong: tuple[int, ...]
    regret: float
    agreement: tuple[RankAgreement, ...]

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the share of wrong stops, (0, 1) if nothing is known."""
        n = len(self.finished)
        return wilson(len(self.wrong) / n, n) if n else (0.0, 1.0)


def audit_stopping(view: View) -> StoppingAudit:
    """Compute what early stopping saved, and how often it was wrong."""
    stopped = view.in_state("stopped")
    finished, wrong = find_audited(view)
    return StoppingAudit(
        stopped=len(stopped),
        saved=sum(_epochs_left(trial) for trial in stopped),
        running=sum(trial.audited for trial in view.in_state("running")),
        finished=finished,
        wrong=wrong,
        regret=_regret(view.scored()),
        agreement=tuple(rank_agreement(view, key) for key in sorted(view.rungs)),
    )


def find_audited(view: View) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the numbers of the audited trials that have finished, and of those on the front."""
    finished = tuple(trial.number for trial in view.scored() if trial.audited)
    best = {trial.number for trial in view.front()} if finished else set()
    return finished, tuple(number for number in finished if number in best)


def rank_agreement(view: View, key: Key) -> RankAgreement:
    """Compare the ranking at the rung `key` with the final one, over finished trials."""
    trials = [view.trials[n] for n in view.rungs.get(key, ())]
    both = [(t.rungs[key].point, t.result.point) for t in trials if t.result]
    rho = [_spearman([a[i] for a, _ in both], [b[i] for _, b in both]) for i in range(2)]
    return RankAgreement(key, len(both), (rho[0], rho[1]), view.header.aims)


def describe_stopping(view: View) -> list[str]:
    """Return sentences on what early stopping saved and cost, and on why the rule was relaxed."""
    relaxed = [f"Fewer trials were stopped: {event['reason']}." for event in view.relaxed]
    return [*describe_audit(audit_stopping(view)), *relaxed]


def describe_audit(audit: StoppingAudit) -> list[str]:
    """Return the audit as sentences; none if no trial was ever stopped or audited."""
    n, wrong = len(audit.finished), len(audit.wrong)
    if not (audit.stopped or n or audit.running):
        return []
    lines = [f"{count(audit.stopped, 'trial')} stopped early, {count(audit.saved, 'epoch')} saved."]
    if n:
        low, high = audit.interval
        lines.append(
            f"Audit: {count(n, 'trial')} that would have been stopped ran to completion as a "
            f"check; {wrong} of them ended on the front, so stopping is wrong in "
            f"{100 * wrong / n:.0f} % of cases (95 % interval {100 * low:.0f} to "
            f"{100 * high:.0f} %)."
        )
        lines.append(
            f"Regret: without them the hypervolume would be {100 * audit.regret:.2f} % smaller."
        )
    return [*lines, *_describe_agreement(audit.agreement)]


def _describe_agreement(agreement: Sequence[RankAgreement]) -> list[str]:
    lines = []
    for found in agreement:
        values = ", ".join(
            f"{name.replace('_', ' ')} {rho:.2f}{_describe_interval(rho, found.trials)}"
            for name, rho in zip(found.aims, found.rho, strict=True)
            if rho is not None
        )
        if values and found.trials > 2:
            lines.append(
                f"Rank correlation between epoch {found.key[0]} and the end, over "
                f"{count(found.trials, 'trial')}: {values}."
            )
    return lines


def _describe_interval(rho: float, n: int) -> str:
    """Return the 95 % interval of a rank correlation of n trials (Fieller et al. 1957), or ""."""
    if n < 4 or abs(rho) >= 1:
        return ""
    half = Z95 * math.sqrt(1.06 / (n - 3))
    low, high = (math.tanh(math.atanh(rho) + side) for side in (-half, half))
    return f" ({low:.2f} to {high:.2f})"


def _epochs_left(trial: Trial) -> int:
    last = trial.epochs[max(trial.epochs)] if trial.epochs else None
    return last.epochs - last.epoch if last else 0


def _regret(done: Sequence[Trial]) -> float:
    """Return how much smaller the hypervolume would be without the audited trials.

    It begins at 0; where less of an objective is better, at the worst values of all trials.
    """
    points = [(trial.result.point, trial.audited) for trial in done if trial.result]
    low = np.minimum(0.0, [point for point, _ in points]).min(axis=0) if points else (0.0, 0.0)
    whole = hypervolume([point for point, _ in points], low)
    rest = hypervolume([point for point, audited in points if not audited], low)
    return 1 - rest / whole if whole else 0.0


def _spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    if len(set(a)) < 2 or len(set(b)) < 2:
        return None
    return float(np.corrcoef(_mean_ranks(a), _mean_ranks(b))[0, 1])


def _mean_ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Return ranks from 1; equal values share the mean of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[which])
