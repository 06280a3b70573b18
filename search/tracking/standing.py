"""Which nets are on the front of a run, which are recommended for what, and whose scores mislead.

It is what the terminal and the page show (`search.outcome`), in the form that trackers need.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from search.finals.finalist import Finalist
from search.finals.standings import compute_standings
from search.outcome.front import find_front
from search.outcome.marks import find_marks, list_marks
from search.outcome.roles import assign_roles
from search.record.study_header import StudyHeader
from search.record.trial import Trial
from search.record.view import View


@dataclass(frozen=True)
class NetOfFront:
    """The net that stands for a member of the front.

    Args:
      training: whose weights it has.
      is_final: whether that is a final training.
    """

    training: Trial
    is_final: bool


@dataclass(frozen=True)
class Standing:
    """The place of the nets of a run among each other.

    Args:
      front: the members of the front by number, best in the first objective first.
      roles: the aliases of the recommended nets, such as "most-robust", by number.
      finalists: by number the trials with fresh seeds.
    """

    front: Mapping[int, NetOfFront] = field(default_factory=dict)
    roles: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    finalists: Mapping[int, Finalist] = field(default_factory=dict)

    def list_marks(self, trial: Trial, header: StudyHeader) -> str:
        """Return why the scores of a trial mislead, such as "flagged"; "" if they do not."""
        return list_marks(find_marks(trial, header, self.finalists.get(trial.number)))


def find_standing(view: View, *, roles: bool) -> Standing:
    """Return the place of the nets of a run.

    Args:
      view: of the search.
      roles: whether to assign the roles, which takes longer than all else.
    """
    finalists = compute_standings(view)
    front = find_front(view, finalists)
    held: dict[int, tuple[str, ...]] = {}
    for role in assign_roles(view, front) if roles else ():
        held[role.member.number] = (*held.get(role.member.number, ()), role.slug)
    known = {finalist.trial.number: finalist for finalist in finalists}
    members = {member.number: NetOfFront(member.net, member.is_final) for member in front.members}
    return Standing(members, held, known)
