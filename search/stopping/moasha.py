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

from search.ledger import View
from search.stopping.noise import standard_error
from search.stopping.order import Split, ranks
from search.trial import Decision, Rung


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
      least: trials at a rung below which none is stopped there.
      split: how the last front that only fits in part is split.
      seed: of the search; decides who is audited.

    Raises:
      ValueError: a setting is out of its range.
    """

    eta: float = 2.0
    margin: float = 1.0
    audit: float = 0.1
    least: int = 4
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
        others = [n for n in view.rungs.get(rung.key, ()) if n != number]
        rungs = [*(view.trials[n].rungs[rung.key] for n in others), rung]
        if len(rungs) < self.least:
            return Decision("go on", f"only {len(rungs)} trials have been here")
        place = int(ranks([r.point for r in rungs], self.split)[-1])
        best = max(1, int(len(rungs) / self.eta))
        where = f"place {place + 1} of {len(rungs)}"
        if place < best:
            return Decision("go on", f"{where}, {best} go on")
        worse = self._beaten(rungs)
        if not worse:
            return Decision("go on", f"{where}, but worse than no other by more than noise")
        reason = f"{where}, {best} go on; worse than trial {others[worse[0]]} by more than noise"
        if self.audits(number):
            return Decision("audit", reason)
        return Decision("stop", reason)

    def audits(self, number: int) -> bool:
        """Whether the trial `number` runs on where it would be stopped."""
        return random.Random(f"audit {self.seed} {number}").random() < self.audit

    def review(self, view: View) -> str:
        """Nothing is learned from the audits yet."""
        return ""

    def _beaten(self, rungs: Sequence[Rung]) -> list[int]:
        """Which of the rungs are better than the last one beyond noise, in both objectives."""
        own = rungs[-1]
        found = []
        for i, other in enumerate(rungs[:-1]):
            ahead = np.subtract(other.point, own.point)
            if (ahead > 0).all() and (ahead > self.margin * standard_error(other, own)).all():
                found.append(i)
        return found
