"""Asynchronous successive halving with two objectives, as this project's curricula need it.

A trial that reaches a rung is compared with all that reached the same rung before it, under one
reference battery. It goes on where it is among the best 1/eta of them, by fronts and spread
(Schmucker et al. 2021), and wherever no other is better in both objectives by more than the
measured noise. A share of those that would be stopped run on all the same and are audited. What is
learned from them may make the rule gentler: an event of the ledger, so that a decision is a
function of the ledger.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from search.record.trial import Decision, Rung
from search.record.view import View
from search.stopping.audit import agreement, audited
from search.stopping.nondominated_sort import Split
from search.stopping.nondominated_sort import place as place_of
from search.stopping.standard_error import standard_error

LEVELS = 2  # times that the rule may be relaxed; after the last nothing is stopped any more


class Stopper(Protocol):
    """Which trials go on. It keeps nothing: all that it knows is in the ledger's view."""

    def decide(self, view: View, number: int, rung: Rung) -> Decision:
        """What becomes of the trial `number`, which has just been measured at `rung`."""

    def review(self, view: View) -> str:
        """Why the rule has to become gentler, in words; "" where it need not."""


@dataclass(frozen=True)
class Never:
    """No trial is stopped."""

    def decide(self, view: View, number: int, rung: Rung) -> Decision:
        """Go on."""
        return Decision("go on", "nothing is stopped")

    def review(self, view: View) -> str:
        """There is nothing to make gentler."""
        return ""


@dataclass(frozen=True)
class MOASHA:
    """Two-objective asynchronous successive halving with audits.

    Args:
      eta: of the trials at a rung, the best 1/eta go on; above 1.
      margin: standard errors by which a trial has to be worse than another, in both objectives, to
        be stopped; 0 or more.
      audit: share of the trials that would be stopped which run on, in [0, 1].
      proof: trials that must have finished after a rung before any is stopped there: until then it
        is not known whether the rung ranks trials as the end does.
      trust: the rank correlation with the end, of either objective, below which it does not.
      split: how the last front that only fits in part is split.
      seed: of the search; decides who is audited.

    Raises:
      ValueError: a setting is out of its range.
    """

    eta: float = 2.0
    margin: float = 1.0
    audit: float = 0.1
    proof: int = 6
    trust: float = 0.3
    split: Split = "crowding"
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.eta > 1:
            raise ValueError(f"eta is above 1, got {self.eta}")
        if not self.margin >= 0:
            raise ValueError(f"a margin is 0 standard errors or more, got {self.margin}")
        if not 0 <= self.audit <= 1:
            raise ValueError(f"the share to audit lies in [0, 1], got {self.audit}")

    def decide(self, view: View, number: int, rung: Rung) -> Decision:
        """Compare with the trials that reached the same rung before this one did."""
        if view.trials[number].audited:
            return Decision("audit", "audited since an earlier rung")
        eta, margin = self.now(view)
        others = [n for n in view.rungs.get(rung.key, ()) if n != number]
        ended = sum(view.trials[n].result is not None for n in others)
        if ended < self.proof:
            return Decision("go on", f"only {ended} trials have finished after this rung")
        rungs = [*(view.trials[n].rungs[rung.key] for n in others), rung]
        place = place_of([r.point for r in rungs], self.split)
        best = max(1, int(len(rungs) / eta))
        where = f"place {place + 1} of {len(rungs)}"
        if place < best:
            return Decision("go on", f"{where}, {best} go on")
        better = _clearly_better(rungs, margin)
        if better is None:
            return Decision("go on", f"{where}, but worse than no other by more than noise")
        reason = f"{where}, {best} go on; worse than trial {others[better]} by more than noise"
        if self.audits(number):
            return Decision("audit", reason)
        return Decision("stop", reason)

    def audits(self, number: int) -> bool:
        """Whether the trial `number` runs on where it would be stopped."""
        return random.Random(f"audit {self.seed} {number}").random() < self.audit

    def now(self, view: View) -> tuple[float, float]:
        """Eta and the margin as they are after what has been relaxed so far."""
        level = len(view.relaxed)
        if level >= LEVELS:
            return 1.0, np.inf
        return 1 + (self.eta - 1) / 3**level, self.margin * 2**level

    def review(self, view: View) -> str:
        """Whether the rungs and the audits speak for stopping less.

        Each step needs `proof` more finished trials than the one before it.
        """
        level = len(view.relaxed)
        if level >= LEVELS:
            return ""
        needed = self.proof * (level + 1)
        for key in sorted(view.rungs):
            found = agreement(view, key)
            if found.trials >= needed and found.least is not None and found.least < self.trust:
                return (
                    f"after epoch {key[0]} the rank correlation with the end is "
                    f"{found.least:.2f} over {found.trials} trials{self._then(level)}"
                )
        finished, on_front = audited(view)
        n, wrong = len(finished), len(on_front)
        if wrong >= 2 * (level + 1) and 3 * wrong > n:
            return f"{wrong} of {n} audited trials ended on the front{self._then(level)}"
        return ""

    def _then(self, level: int) -> str:
        if level + 1 >= LEVELS:
            return "; from here on nothing is stopped"
        share = 1 / (1 + (self.eta - 1) / 3 ** (level + 1))
        margin = self.margin * 2 ** (level + 1)
        return f"; from here on {100 * share:.0f} % go on, the margin is {margin:g}"


def _clearly_better(rungs: Sequence[Rung], margin: float) -> int | None:
    """The first of the rungs that is better than the last one beyond noise, in both objectives."""
    ahead = np.array([rung.point for rung in rungs[:-1]]) - rungs[-1].point
    for i in np.flatnonzero((ahead > 0).all(axis=1)).tolist():
        if (ahead[i] > margin * standard_error(rungs[i], rungs[-1])).all():
            return int(i)
    return None
