"""MOASHA: asynchronous successive halving with two objectives, adapted to adversarial training.

A trial that reaches a rung is compared with all trials that reached the same rung before it, under
one reference battery. It continues if it is among the best 1/eta of them, by non-dominated sorting
(Schmucker et al. 2021), or if no other trial is better in both objectives by more than the measured
noise. A share of the trials that would be stopped are audited: they run to completion as a check.
If the audits or the rank correlations show that rungs predict the end poorly, the rule is relaxed;
that is an event of the ledger, so every decision remains a function of the ledger.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.record.trial import Decision, Rung
from search.record.view import View
from search.stopping.audit import find_audited, rank_agreement
from search.stopping.nondominated_sort import Split, rank_of_last
from search.stopping.standard_error import standard_error
from search.stopping.table import AUDIT_SHARE

MAX_RELAXATIONS = 2  # after the last one nothing is stopped any more


@dataclass(frozen=True)
class MOASHA:
    """Two-objective asynchronous successive halving with audits.

    Args:
      eta: the best 1/eta of the trials at a rung continue; above 1.
      margin: how many standard errors a trial must be worse than another one, in both objectives,
        to be stopped; 0 or more.
      audit: share of the would-be-stopped trials that run to completion as a check, in [0, 1].
      min_finished: how many trials must have finished after reaching a rung before any is stopped
        there. Until then it is unknown whether the rung ranks trials as the end does.
      min_correlation: the rule is relaxed if the rank correlation of a rung with the end, in either
        objective, is below this.
      split: how the last front that fits only in part is split.
      seed: of the search; decides which trials are audited.

    Raises:
      ValueError: a setting is out of its range.
    """

    eta: float = 2.0
    margin: float = 1.0
    audit: float = AUDIT_SHARE
    min_finished: int = 6
    min_correlation: float = 0.3
    split: Split = "crowding"
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.eta > 1:
            raise ValueError(f"eta must be above 1, got {self.eta}")
        if not self.margin >= 0:
            raise ValueError(f"margin must be 0 standard errors or more, got {self.margin}")
        if not 0 <= self.audit <= 1:
            raise ValueError(f"the audit share must be in [0, 1], got {self.audit}")

    def decide(self, view: View, number: int, rung: Rung) -> Decision:
        """Compare the trial with those that reached the same rung before it."""
        if view.trials[number].audited:
            return Decision("audit", "audited since an earlier rung")
        eta, margin = self.current_rule(view)
        others = [n for n in view.rungs.get(rung.key, ()) if n != number]
        finished = sum(view.trials[n].result is not None for n in others)
        if finished < self.min_finished:
            return Decision("go on", f"only {finished} trials have finished after this rung")
        rungs = [*(view.trials[n].rungs[rung.key] for n in others), rung]
        rank = rank_of_last([r.point for r in rungs], self.split)
        count = max(1, int(len(rungs) / eta))
        ranked = f"ranked {_ordinal(rank + 1)} of {len(rungs)}"
        if rank < count:
            return Decision("go on", f"{ranked}; the top {count} continue")
        better = _find_significantly_better(rungs, margin)
        if better is None:
            return Decision("go on", f"{ranked}, but no trial is significantly better")
        reason = (
            f"{ranked}; the top {count} continue; significantly worse than trial {others[better]}"
        )
        if self.is_audited(number):
            return Decision("audit", reason)
        return Decision("stop", reason)

    def is_audited(self, number: int) -> bool:
        """Return True if trial `number` runs to completion although it would be stopped."""
        return random.Random(f"audit {self.seed} {number}").random() < self.audit

    def current_rule(self, view: View) -> tuple[float, float]:
        """Return `eta` and `margin` as they are after the relaxations so far."""
        level = len(view.relaxed)
        if level >= MAX_RELAXATIONS:
            return 1.0, np.inf
        return 1 + (self.eta - 1) / 3**level, self.margin * 2**level

    def review(self, view: View) -> str:
        """Return why the rule must be relaxed, by the rank correlations or the audits; else "".

        Each relaxation needs `min_finished` more finished trials than the one before it.
        """
        level = len(view.relaxed)
        if level >= MAX_RELAXATIONS:
            return ""
        needed = self.min_finished * (level + 1)
        for key in sorted(view.rungs):
            found = rank_agreement(view, key)
            rho = found.lower_rho
            if found.trials >= needed and rho is not None and rho < self.min_correlation:
                return (
                    f"values after epoch {key[0]} predict the end poorly (rank correlation "
                    f"{rho:.2f} over {found.trials} trials){self._consequence(level)}"
                )
        finished, on_front = find_audited(view)
        n, wrong = len(finished), len(on_front)
        if wrong >= 2 * (level + 1) and 3 * wrong > n:
            return f"{wrong} of {n} audited trials ended on the front{self._consequence(level)}"
        return ""

    def _consequence(self, level: int) -> str:
        if level + 1 >= MAX_RELAXATIONS:
            return "; no more trials are stopped"
        share = 1 / (1 + (self.eta - 1) / 3 ** (level + 1))
        margin = self.margin * 2 ** (level + 1)
        return (
            f"; from now on the top {100 * share:.0f} % continue, and a trial is stopped only if "
            f"it is worse by {margin:g} standard errors"
        )


def _ordinal(n: int) -> str:
    """Return 1st, 2nd, 3rd, 4th, ..."""
    suffix = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"


def _find_significantly_better(rungs: Sequence[Rung], margin: float) -> int | None:
    """Return the first rung that is better than the last one beyond noise, in both objectives."""
    ahead = np.array([rung.point for rung in rungs[:-1]]) - rungs[-1].point
    for i in np.flatnonzero((ahead > 0).all(axis=1)).tolist():
        if (ahead[i] > margin * standard_error(rungs[i], rungs[-1])).all():
            return int(i)
    return None
