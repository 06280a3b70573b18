"""The recommended nets of a front: the best in each objective, and the balanced one, its knee."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from search.finals.seed_noise import Floats
from search.finals.verdict import Verdict, reach_verdict, sample_nets
from search.outcome.front import RunFront
from search.outcome.front_member import FrontMember
from search.record.trial_result import Interval
from search.record.view import View
from spaces import find_objective

BALANCED = "balanced"
_SUPERLATIVES = {
    "natural_accuracy": "most accurate",
    "balanced_accuracy": "most accurate",
    "parameters": "smallest",
    "multiply_adds": "cheapest",
    "latency": "fastest",
    "training_seconds": "quickest to train",
}


@dataclass(frozen=True)
class Role:
    """A reason to take a net: most accurate, most robust or balanced.

    Args:
      name: "most accurate", "most robust", "balanced"; with other objectives "smallest" and so on.
      member: the net.
      aim: the objective in which it is the best of the front; "" for the balanced one.
      tied: numbers of the other members that cannot be told from it: in `aim`, the balanced one in
        both objectives. The interval of each difference holds zero.
    """

    name: str
    member: FrontMember
    aim: str = ""
    tied: tuple[int, ...] = ()

    @property
    def slug(self) -> str:
        """The name as an alias: most-accurate."""
        return self.name.replace(" ", "-")


def assign_roles(view: View, front: RunFront) -> tuple[Role, ...]:
    """Return the three roles of a front, none of an empty one; a net may have several.

    Nets whose marks say that their scores mislead, and members that the finals report without a
    fresh seed, have a role only if there are no others. The nets that the verdict names go before
    others that cannot be told from them.

    Args:
      view: of the search.
      front: of the run.
    """
    members = _choose_eligible(front.members)
    if not members:
        return ()
    points = np.array([member.point for member in members])
    first, second = (_best(points, m) for m in range(2))
    knee = find_knee(points, _find_reference(view, front), _find_noise(members, front.aims))
    ties, known = _Ties(view, front), {member.number: member for member in members}
    roles = []
    for name, i, aim, named in zip(
        name_roles(front.aims),
        (first, second, knee),
        (*front.aims, ""),
        _list_named(find_verdict(view, front)),
        strict=True,
    ):
        holder = members[i]
        if named in known and (not aim or named in ties.find(holder, aim)):
            holder = known[named]
        roles.append(Role(name, holder, aim, ties.find(holder, aim)))
    return tuple(roles)


def find_verdict(view: View, front: RunFront) -> Verdict | None:
    """Return the verdict of a run, which names only nets that may be recommended.

    Args:
      view: of the search.
      front: of the run.
    """
    return reach_verdict(view, [member.number for member in _choose_eligible(front.members)])


def _list_named(verdict: Verdict | None) -> tuple[int | None, int | None, int | None]:
    """Return whom a verdict names as the best in each objective, and in both; None for nobody."""
    if verdict and verdict.trade:
        return verdict.trade.ahead, verdict.trade.of, None
    best = verdict.best if verdict else None
    return best, best, best


def name_roles(aims: tuple[str, str]) -> tuple[str, str, str]:
    """Return the names of the three roles: most accurate, most robust, balanced.

    Args:
      aims: the two objectives; two of one kind give "best worst case" and "best robust area".
    """
    first, second = (_SUPERLATIVES.get(name, "most robust") for name in aims)
    if first == second:
        first, second = (f"best {find_objective(name).title}" for name in aims)
    return first, second, BALANCED


def find_knee(points: Floats, reference: Floats, noise: Floats) -> int:
    """Return the balanced point of a front, its knee: the one nearest to the ideal point.

    The ideal point has the best value of each objective (compromise programming, Zeleny 1973).
    Distances are in ranges of the front, so that its ends lie at (1, 0) and (0, 1) and the ideal
    at (1, 1); where the noise is larger than the range it is the unit, so that a range of noise
    decides nothing. Of equally near ones, as of two ends alone, the one with the larger product of
    both objectives above the reference is taken.

    Args:
      points: [n, 2] values, larger is better.
      reference: [2] the point above which products are taken.
      noise: [2] the 95 % half-width of a difference.
    """
    scale = np.maximum(np.ptp(points, axis=0), noise)
    missing = (points.max(axis=0) - points) / np.where(scale > 0, scale, 1.0)
    distance = (missing**2).sum(axis=1)
    product = np.maximum(points - reference, 0.0).prod(axis=1)
    nearest = np.flatnonzero(np.isclose(distance, distance.min(), rtol=0, atol=1e-9))
    return int(nearest[np.argmax(product[nearest])])


def _choose_eligible(members: Sequence[FrontMember]) -> list[FrontMember]:
    sound = [member for member in members if not member.misleads] or list(members)
    return [member for member in sound if member.measured != "estimate"] or sound


def _best(points: Floats, m: int) -> int:
    """Return the best point in one objective; of equal ones the best in the other."""
    return int(np.lexsort((points[:, 1 - m], points[:, m]))[-1])


def _find_reference(view: View, front: RunFront) -> Floats:
    """Return 0 of objectives that have a smallest value, the worst value of all trials of others.

    The finals measure such objectives in the unit of the search.
    """
    points = np.array([trial.result.point for trial in view.scored() if trial.result])
    bounded = [find_objective(name).unit in ("%", "points") for name in front.aims]
    return np.where(bounded, 0.0, points.min(axis=0))


def _find_noise(members: Sequence[FrontMember], aims: tuple[str, str]) -> Floats:
    """Return the 95 % half-width of a difference of two members, [2]; 0 if it is not known."""
    noise = []
    for name in aims:
        halves = [(high - low) / 2 for low, high in _known(members, name)]
        noise.append(2**0.5 * float(np.median(halves)) if halves else 0.0)
    return np.array(noise)


def _known(members: Sequence[FrontMember], name: str) -> list[Interval]:
    return [member.intervals[name] for member in members if name in member.intervals]


class _Ties:
    """Finds the members of a front that cannot be told from one of them.

    The differences are those of the verdict, paired by image; the intervals of nets that the
    verdict does not compare may not overlap.
    """

    def __init__(self, view: View, front: RunFront) -> None:
        self._front = front
        numbers, draws = sample_nets(view) or ([], np.empty((0, 0, 2)))
        self._draws: Mapping[int, Floats] = {n: draws[:, i] for i, n in enumerate(numbers)}

    def find(self, member: FrontMember, aim: str) -> tuple[int, ...]:
        """Return the numbers of the others that are tied in an objective, or in both for ""."""
        aims = [aim] if aim else list(self._front.aims)
        others = (other for other in self._front.members if other.number != member.number)
        return tuple(o.number for o in others if all(self._are_tied(member, o, a) for a in aims))

    def _are_tied(self, one: FrontMember, other: FrontMember, aim: str) -> bool:
        if one.number in self._draws and other.number in self._draws:
            m = self._front.aims.index(aim)
            apart = self._draws[one.number][:, m] - self._draws[other.number][:, m]
            low, high = np.quantile(apart, [0.025, 0.975])
            return bool(low <= 0 <= high)
        first, second = one.objectives[aim], other.objectives[aim]
        low, high = one.intervals.get(aim, (first, first))
        other_low, other_high = other.intervals.get(aim, (second, second))
        return low <= other_high and other_low <= high
