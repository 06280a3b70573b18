"""The stoppers by their names on the command line.

To add a stopper, write a file with a function or class that takes `seed` and `audit`, and add a
line to `STOPPERS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.stopping.stopper import Stopper

AUDIT_SHARE = 0.1  # of the would-be-stopped trials

# Name -> what builds it (imported on first use: --help must stay fast), and its help.
STOPPERS: Mapping[str, tuple[str, str]] = {
    "predictive": (
        "search.stopping.predictive:Predictive",
        "stops what will hardly reach the front, as a model of the learning curves predicts at the "
        "rungs, once this search's finished trials show that it would have been right (default)",
    ),
    "moasha": (
        "search.stopping.moasha:MOASHA",
        "stops the bottom half by both objectives at each rung, if significantly worse, once 6 "
        "trials have finished",
    ),
    "none": ("search.stopping.stopper:no_stopping", "stops nothing"),
}
STOPPER_HELP = "; ".join(f"{name}: {text}" for name, (_, text) in STOPPERS.items()) + "."


def make_stopper(name: str, *, seed: int, audit: float = AUDIT_SHARE) -> Stopper:
    """Build the stopper `name`, a key of `STOPPERS`.

    Args:
      name: of the stopper.
      seed: of the search.
      audit: share of the would-be-stopped trials that run to completion as a check, in [0, 1].
    """
    stopper: Stopper = resolve_name(STOPPERS[name][0])(seed=seed, audit=audit)
    return stopper
