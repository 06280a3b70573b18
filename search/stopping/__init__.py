"""Which trials go on: two-objective successive halving, audited.

A stopper is a pure function of the ledger's view: `decide(view, number, rung) -> Decision`.
"""

from __future__ import annotations

from search.stopping.audit import Audit as Audit
from search.stopping.audit import audit_lines as audit_lines
from search.stopping.audit import audit_of as audit_of
from search.stopping.audit import stopping_lines as stopping_lines
from search.stopping.moasha import MOASHA as MOASHA
from search.stopping.moasha import Never as Never
from search.stopping.moasha import Stopper as Stopper
from search.stopping.nondominated_sort import crowding as crowding
from search.stopping.nondominated_sort import fronts as fronts
from search.stopping.nondominated_sort import leading as leading
from search.stopping.nondominated_sort import order as order
from search.stopping.nondominated_sort import ranks as ranks
from search.stopping.rung_schedule import rung_epochs as rung_epochs

STOPPERS = ("moasha", "none")


def stopper(name: str, *, seed: int, audit: float = 0.1) -> Stopper:
    """The stopper called `name`, one of `STOPPERS`."""
    return MOASHA(seed=seed, audit=audit) if name == "moasha" else Never()
