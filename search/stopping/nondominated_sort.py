"""Non-dominated sorting: order points by two objectives, front after front.

This is what MO-ASHA selects by (Schmucker et al. 2021, arXiv 2106.12639): whole non-dominated
fronts while they fit, the last one split by the crowding distance of NSGA-II (Deb et al. 2002) or
by an epsilon-net (Salinas et al. 2021). Mind the difference between a rank (a point's position in
the order, 0 for the best) and the order itself (the sorted indices): to confuse the two stops the
wrong trials. Tests hold cases that other programs get wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search.record.pareto import front

Split = Literal["crowding", "epsilon-net"]
Indices = NDArray[np.intp]


def nondominated_ranks(points: ArrayLike, split: Split = "crowding") -> Indices:
    """Return the rank of each of the [n, 2] points, 0 for the best; larger values are better.

    All points of a front rank before all points of the next. Of equal points the earlier one ranks
    first.
    """
    order = nondominated_order(points, split)
    ranks = np.empty(len(order), dtype=np.intp)
    ranks[order] = np.arange(len(order))
    return ranks


def rank_of_last(points: ArrayLike, split: Split = "crowding") -> int:
    """Return the rank of the last of the [n, 2] points, without ranking all the others."""
    p = np.asarray(points, dtype=float)
    before = 0
    for members in nondominated_fronts(p):
        if members[-1] == len(p) - 1:
            order = members[SPLITS[split](p[members])]
            return before + int(np.flatnonzero(order == len(p) - 1)[0])
        before += len(members)
    raise ValueError("there is no point to rank")


def nondominated_order(points: ArrayLike, split: Split = "crowding") -> Indices:
    """Return the indices of the [n, 2] points from the best to the worst."""
    p = np.asarray(points, dtype=float)
    return select_best(p, len(p), split)


def select_best(points: ArrayLike, count: int, split: Split = "crowding") -> Indices:
    """Return the first `count` indices of `nondominated_order`; later fronts are not computed."""
    p = np.asarray(points, dtype=float)
    chosen: list[Indices] = [np.empty(0, dtype=np.intp)]
    for members in nondominated_fronts(p):
        if sum(map(len, chosen)) >= count:
            break
        chosen.append(members[SPLITS[split](p[members])])
    return np.concatenate(chosen)[:count]


def nondominated_fronts(points: ArrayLike) -> Iterator[Indices]:
    """Yield the indices of the front of the [n, 2] points, then of the front of the rest, ..."""
    p = np.asarray(points, dtype=float)
    left = np.arange(len(p))
    while len(left):
        on_front = front(p[left])
        yield left[on_front]
        left = left[~on_front]


def crowding_distance(points: ArrayLike) -> NDArray[np.float64]:
    """Return the crowding distance of each of the [n, 2] points of one front, [n].

    It is the distance between a point's two neighbours, summed over the objectives, each relative
    to its range. The ends of the front are infinitely far.
    """
    p = np.asarray(points, dtype=float)
    distance = np.zeros(len(p))
    for values in p.T:
        by = np.argsort(values, kind="stable")
        span = values[by[-1]] - values[by[0]] if len(p) else 0.0
        distance[by[:1]] = distance[by[-1:]] = np.inf
        if span > 0:
            distance[by[1:-1]] += (values[by[2:]] - values[by[:-2]]) / span
    return distance


def _by_crowding(points: NDArray[np.float64]) -> Indices:
    return np.argsort(-crowding_distance(points), kind="stable")


def _by_epsilon_net(points: NDArray[np.float64]) -> Indices:
    """Start with the best in the first objective, then add the farthest from all that are in."""
    span = np.ptp(points, axis=0)
    scaled = points / np.where(span > 0, span, 1.0)
    chosen = [int(np.argmax(points[:, 0]))]
    gap = np.linalg.norm(scaled - scaled[chosen[0]], axis=1)
    while len(chosen) < len(points):
        gap[chosen] = -1.0
        chosen.append(int(np.argmax(gap)))
        gap = np.minimum(gap, np.linalg.norm(scaled - scaled[chosen[-1]], axis=1))
    return np.array(chosen, dtype=np.intp)


SPLITS: dict[Split, Callable[[NDArray[np.float64]], Indices]] = {
    "crowding": _by_crowding,
    "epsilon-net": _by_epsilon_net,
}
