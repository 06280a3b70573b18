"""What the ranks of a trial need to know of each other; needs no torch.

The backend may say what starts the other ranks of the trials that a process runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from search.record.trial import Run

if TYPE_CHECKING:
    from adv.runtime.ranks import Ranks

PATIENCE = 10.0  # seconds that a rank which fails may take to say why


class SplitRun(Protocol):
    """A run whose trials several ranks can train together."""

    def on_ranks(self, team: Ranks) -> Run:
        """Return the run as one of the ranks has to call it."""


class NoRoomError(Exception):
    """There is no place for other ranks after all."""


@dataclass(frozen=True)
class RankTask:
    """A trial that several ranks train together.

    Args:
      params: of the trial.
      seed: of the trial.
      folder: of the trial, on the machine of the first rank.
      count: number of ranks, 2 or more.
    """

    params: Mapping[str, Any]
    seed: int
    folder: Path
    count: int


class Cause(NamedTuple):
    """Why a rank has ended.

    Args:
      reason: in one line; "" if it was killed.
      out_of_memory: whether it had no memory left.
    """

    reason: str = ""
    out_of_memory: bool = False


class OtherRanks(Protocol):
    """The ranks of a trial without the first.

    Attributes:
      meet: where all ranks find each other, see `adv.runtime.ranks.join_ranks`.
    """

    meet: str

    def find_cause(self) -> Cause | None:
        """Return why one of them has ended; None if none says so for `PATIENCE`."""


Starter = Callable[[SplitRun, RankTask], AbstractContextManager[OtherRanks]]
"""Starts the other ranks of a trial, and ends them with the block."""


@dataclass(frozen=True)
class Helpers:
    """Other processes that may help to score a final training.

    Args:
      count: returns how many there is room for now.
      start: starts them.
    """

    count: Callable[[], int]
    start: Starter


_starter: Starter | None = None
_helpers: Helpers | None = None


def find_starter(usual: Starter) -> Starter:
    """Return what starts the other ranks: what the backend has named, else the usual."""
    return _starter or usual


def find_helpers() -> Helpers | None:
    """Return who may help to score a final training; None where there is only this machine."""
    return _helpers


@contextmanager
def started_by(starter: Starter, helpers: Helpers | None = None) -> Iterator[None]:
    """Let `starter` start the other ranks of trials that this process runs in the block.

    Args:
      starter: of the ranks of a trial.
      helpers: of its scoring, if it is a final training.
    """
    global _starter, _helpers
    before = _starter, _helpers
    _starter, _helpers = starter, helpers
    try:
        yield
    finally:
        _starter, _helpers = before
