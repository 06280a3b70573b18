"""The front of a run: one, of the finalists where there are finals, else of the search.

front = find_front(view)
print(front.describe())
for member in front.members:
    print(member.name, member.objectives, member.intervals, member.file, member.marks)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from search.finals.finalist import Finalist
from search.finals.reseeding_study import find_contenders
from search.finals.selection import SURE
from search.finals.standings import compute_standings
from search.formatting import count
from search.outcome.front_member import FrontMember, reported_member, search_member
from search.record.trial import Trial
from search.record.view import View
from spaces import OBJECTIVES

Source = Literal["finals", "search"]


@dataclass(frozen=True)
class RunFront:
    """The front of a run.

    Args:
      source: "finals" or "search".
      members: best in the first objective first.
      aims: the two objectives.
      images: on which the members were scored; 0: not recorded.
      trainings: with fresh seeds, of all finalists.
    """

    source: Source
    members: tuple[FrontMember, ...] = ()
    aims: tuple[str, str] = OBJECTIVES
    images: int = 0
    trainings: int = 0

    @property
    def numbers(self) -> list[int]:
        """The numbers of the members' trials."""
        return [member.number for member in self.members]

    def find(self, number: int) -> FrontMember | None:
        """Return the member of a number, None if it is not on the front."""
        return next((member for member in self.members if member.number == number), None)

    def describe(self) -> str:
        """Return in one sentence which front this is, and what its figures are."""
        if not self.members:
            return "There is no front: no trial has a result."
        images = str(self.images) if self.images else "some"
        if self.source == "finals":
            estimated = sum(not member.runs for member in self.members)
            added = f"; {count(estimated, 'member')} without one, estimated" if estimated else ""
            return (
                f"The front of the finals: means over {count(self.trainings, 'training')} with "
                f"fresh seeds, attacked strongly on {images} test images{added}."
            )
        return (
            f"The front of the search: each net trained once, scored on {images} validation "
            "images, which also chose it."
        )


def find_front(view: View, finalists: Sequence[Finalist] | None = None) -> RunFront:
    """Return the front of a run, the same for everyone who asks.

    Args:
      view: of the search.
      finalists: from `compute_standings`; None computes them.
    """
    standings = compute_standings(view) if finalists is None else finalists
    trainings = sum(len(finalist.runs) for finalist in standings)
    if trainings:
        members = [reported_member(f, view.header) for f in standings if f.on_front]
        source: Source = "finals"
        images = view.finals_header.images or 0
    else:
        members = [search_member(trial, view.header) for trial in view.front()]
        source = "search"
        images = max((_images(member.trial) for member in members), default=0)
    return RunFront(source, _sort(members), view.header.aims, images, trainings)


def find_untold(
    view: View, front: RunFront, finalists: Sequence[Finalist] | None = None
) -> tuple[FrontMember, ...]:
    """Return the nets that are not on the front of a run, but cannot be told from it.

    Args:
      view: of the search.
      front: of the run.
      finalists: from `compute_standings`; None computes them.
    """
    if front.source == "finals":
        standings = compute_standings(view) if finalists is None else finalists
        doubtful = [f for f in standings if f.known and not f.on_front and f.p_front > SURE]
        return _sort([reported_member(f, view.header) for f in doubtful])
    numbers = set(front.numbers)
    others = [trial for trial in find_contenders(view) if trial.number not in numbers]
    return _sort([search_member(trial, view.header) for trial in others])


def _sort(members: list[FrontMember]) -> tuple[FrontMember, ...]:
    """Return members best in the first objective first."""
    return tuple(sorted(members, key=lambda m: (-m.point[0], -m.point[1], m.number)))


def _images(trial: Trial) -> int:
    return (trial.result.details.images or 0) if trial.result else 0
