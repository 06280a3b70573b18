"""A stopper decides at each rung whether a trial continues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from search.record.trial import Decision, Rung
from search.record.view import View


class Stopper(Protocol):
    """Decides which trials continue, as a pure function of the ledger's view."""

    def decide(self, view: View, number: int, rung: Rung) -> Decision:
        """Return what happens to trial `number`, which has just been evaluated at `rung`."""

    def review(self, view: View) -> str:
        """Return why fewer trials must be stopped from now on, "" if the rule is to stay."""


@dataclass(frozen=True)
class NoStopping:
    """Stops no trial."""

    def decide(self, view: View, number: int, rung: Rung) -> Decision:
        """Return the decision to continue."""
        return Decision("go on", "early stopping is off")

    def review(self, view: View) -> str:
        """Return "": there is no rule to relax."""
        return ""


def no_stopping(*, seed: int, audit: float) -> NoStopping:  # noqa: ARG001 - a common signature
    """Build the stopper `none`, which needs neither a seed nor an audit."""
    return NoStopping()
