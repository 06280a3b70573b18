"""The order of points by two objectives: front after front, and inside a front by how spread out.

What MO-ASHA selects by (Schmucker et al. 2021, arXiv 2106.12639): whole non-dominated fronts while
they fit, the last one split by the crowding distance of NSGA-II (Deb et al. 2002) or by an
epsilon-net (Salinas et al. 2021). A rank here is a place in that order, 0 the best; mistaking the
sorted indices for the places stops the wrong trials, and in three of three such programs does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search.record.pareto import front

Split = Literal["crowding", "epsilon-net"]
Indices = NDArray[np.intp]


def ranks(points: ArrayLike, split: Split = "crowding") -> Indices:
    """The place of each of the [n, 2] points in the order, 0 for the best; larger is better.

    Every point of a front comes before all of the next. Of equals the earlier one comes first.
    """
    found = order(points, split)
    places = np.empty(len(found), dtype=np.intp)
    places[found] = np.arange(len(found))
    return places


def place(points: ArrayLike, split: Split = "crowding") -> int:
    """The place of the last of the [n, 2] points; see `ranks`, which orders the others too."""
    p = np.asarray(points, dtype=float)
    before = 0
    for part in fronts(p):
        if part[-1] == len(p) - 1:
            return before + int(np.flatnonzero(part[SPLITS[split](p[part])] == len(p) - 1)[0])
        before += len(part)
    raise ValueError("there is no point")


def order(points: ArrayLike, split: Split = "crowding") -> Indices:
    """The indices of the [n, 2] points from the best to the worst; see `ranks`."""
    p = np.asarray(points, dtype=float)
    return leading(p, len(p), split)


def leading(points: ArrayLike, most: int, split: Split = "crowding") -> Indices:
    """The first `most` of `order`, without a look at the fronts behind them."""
    p = np.asarray(points, dtype=float)
    parts: list[Indices] = [np.empty(0, dtype=np.intp)]
    for part in fronts(p):
        if sum(map(len, parts)) >= most:
            break
        parts.append(part[SPLITS[split](p[part])])
    return np.concatenate(parts)[:most]


def fronts(points: ArrayLike) -> Iterator[Indices]:
    """The non-dominated front of the [n, 2] points, then that of the rest, and so on; indices."""
    p = np.asarray(points, dtype=float)
    left = np.arange(len(p))
    while len(left):
        on = front(p[left])
        yield left[on]
        left = left[~on]


def crowding(points: ArrayLike) -> NDArray[np.float64]:
    """The crowding distance of each point of one front: how far apart its neighbours are.

    The ends of the front are infinitely far. Each objective counts relative to its range.
    """
    p = np.asarray(points, dtype=float)
    far = np.zeros(len(p))
    for values in p.T:
        by = np.argsort(values, kind="stable")
        span = values[by[-1]] - values[by[0]] if len(p) else 0.0
        far[by[:1]] = far[by[-1:]] = np.inf
        if span > 0:
            far[by[1:-1]] += (values[by[2:]] - values[by[:-2]]) / span
    return far


def _crowded(part: NDArray[np.float64]) -> Indices:
    return np.argsort(-crowding(part), kind="stable")


def _epsilon_net(part: NDArray[np.float64]) -> Indices:
    """The best in the first objective, then again and again the farthest from all that are in."""
    span = np.ptp(part, axis=0)
    scaled = part / np.where(span > 0, span, 1.0)
    chosen = [int(np.argmax(part[:, 0]))]
    gap = np.linalg.norm(scaled - scaled[chosen[0]], axis=1)
    while len(chosen) < len(part):
        gap[chosen] = -1.0
        chosen.append(int(np.argmax(gap)))
        gap = np.minimum(gap, np.linalg.norm(scaled - scaled[chosen[-1]], axis=1))
    return np.array(chosen, dtype=np.intp)


SPLITS: dict[Split, Callable[[NDArray[np.float64]], Indices]] = {
    "crowding": _crowded,
    "epsilon-net": _epsilon_net,
}
