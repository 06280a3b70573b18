"""The front of a run as rows of `front.csv`: the nets in `front/`, with the values of the front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.outcome.front import RunFront
from search.outcome.front_member import FrontMember
from search.outcome.marks import list_marks
from search.outcome.roles import Role
from spaces import OBJECTIVES

Row = dict[str, Any]
ADDED = ("roles", "measured", "seeds", "p_on_front", "weights")
"""The columns beside those of `trials.csv`, before the search's own values."""


def front_columns(columns: list[str], aims: tuple[str, str]) -> list[str]:
    """Return the columns of `front.csv`.

    Args:
      columns: of `trials.csv`.
      aims: the two objectives.
    """
    return [*columns, *ADDED, *(f"search_{name}" for name in aims)]


def front_row(
    member: FrontMember, front: RunFront, roles: tuple[Role, ...], row: Mapping[str, Any]
) -> Row:
    """Return the row of a member of the front.

    `natural_accuracy` and so on are the values of the front: means over fresh seeds where there
    are finals. `search_natural_accuracy` and so on are those that the search saw. The seed, the
    epochs and the seconds are those of the training whose weights lie in `front/`.

    Args:
      member: of the front.
      front: of the run.
      roles: of the front.
      row: of `member.net`, as `trials.csv` has it.
    """
    made: Row = {**row, "trial": member.number, "on_front": True, "marks": list_marks(member.marks)}
    if member.measured != "search":
        for name in OBJECTIVES:  # one that is no aim would be that of one training
            made |= dict.fromkeys((name, f"{name}_low", f"{name}_high"))
        made |= {"score": "final"} if "score" in made else {}
    for name, value in member.objectives.items():
        low, high = member.intervals.get(name, (None, None))
        made |= {name: value, f"{name}_low": low, f"{name}_high": high}
    made |= {
        "roles": ", ".join(role.name for role in roles if role.member.number == member.number),
        "measured": member.measured,
        "seeds": len(member.runs),
        "p_on_front": None if member.p_front is None else round(member.p_front, 4),
        "weights": "" if member.net.lost_net else str(member.file),
    }
    seen = member.trial.result.objectives if member.trial.result else {}
    return made | {f"search_{name}": seen.get(name) for name in front.aims}
