"""What the HTML report is made from: the search, its finalists, its outcome, the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from search.finals.finalist import Finalist
from search.outcome.front_member import FrontMember
from search.outcome.marks import Mark, find_marks
from search.outcome.outcome import Outcome, find_outcome
from search.record.trial import Trial
from search.record.view import View
from search.reporting.csv_tables import hypervolumes


@dataclass(frozen=True)
class Page:
    """A search as the page shows it.

    Args:
      view: of the search.
      finalists: from `compute_standings`.
      folder: of the run.
    """

    view: View
    finalists: Sequence[Finalist]
    folder: Path

    @cached_property
    def outcome(self) -> Outcome:
        """The front of the run, the recommended nets, the verdict."""
        return find_outcome(self.view, self.folder, self.finalists)

    @property
    def members(self) -> tuple[FrontMember, ...]:
        """The nets of the front of the run, the most accurate first."""
        return self.outcome.front.members

    @property
    def has_finals(self) -> bool:
        """Whether a finalist has been trained again, so that the front is that of the finals."""
        return self.outcome.front.source == "finals"

    @cached_property
    def numbers(self) -> set[int]:
        """The numbers of the front's trials."""
        return set(self.outcome.front.numbers)

    @cached_property
    def known(self) -> list[Finalist]:
        """The finalists that have a fresh seed, or are reported without one."""
        return [finalist for finalist in self.finalists if finalist.known]

    @cached_property
    def hypervolumes(self) -> list[float]:
        """The hypervolume of the search's front after each finished trial."""
        return hypervolumes(self.view)

    @cached_property
    def _by_number(self) -> dict[int, Finalist]:
        return {finalist.trial.number: finalist for finalist in self.finalists}

    def find_marks(self, trial: Trial) -> tuple[Mark, ...]:
        """Return why the scores of a trial mislead."""
        return find_marks(trial, self.view.header, self._by_number.get(trial.number))
