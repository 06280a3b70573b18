"""Non-dominated sorting, against brute force and against cases that other programs get wrong."""

import math
import random

import numpy as np
import pytest

from search.stopping.nondominated_sort import (
    crowding_distance,
    nondominated_fronts,
    nondominated_order,
    nondominated_ranks,
    rank_of_last,
    select_best,
)


def dominates(p, q):
    return p[0] >= q[0] and p[1] >= q[1] and p != q


def brute_force_fronts(points):
    """Return the fronts, one after another, by definition."""
    left, found = list(range(len(points))), []
    while left:
        on = [i for i in left if not any(dominates(points[j], points[i]) for j in left)]
        found.append(on)
        left = [i for i in left if i not in on]
    return found


def brute_force_distances(front):
    """Return the crowding distance by definition: the gap between neighbours per objective."""
    far = [0.0] * len(front)
    for m in (0, 1):
        by = sorted(range(len(front)), key=lambda i: front[i][m])
        span = front[by[-1]][m] - front[by[0]][m]
        for at, i in enumerate(by):
            if at in (0, len(by) - 1):
                far[i] = math.inf
            elif span:
                far[i] += (front[by[at + 1]][m] - front[by[at - 1]][m]) / span
    return far


def brute_force_epsilon_net(front):
    """Return the epsilon-net order by definition, each objective scaled to its range."""
    spans = [(max(p[m] for p in front) - min(p[m] for p in front)) or 1.0 for m in (0, 1)]
    gap = lambda i, j: math.hypot(  # noqa: E731
        *((front[i][m] - front[j][m]) / spans[m] for m in (0, 1))
    )
    chosen = [max(range(len(front)), key=lambda i: (front[i][0], -i))]
    while len(chosen) < len(front):
        rest = [i for i in range(len(front)) if i not in chosen]
        chosen.append(max(rest, key=lambda i: (min(gap(i, j) for j in chosen), -i)))
    return chosen


def rungs(n, coarse=0.5):
    """Yield random rungs: on a coarse grid, where ties are common, and without ties."""
    chance = random.Random(5)
    for _ in range(n):
        size = chance.randint(1, 14)
        grid = chance.random() < coarse
        draw = (lambda: chance.randint(0, 5) / 4) if grid else chance.random
        yield [(draw(), draw()) for _ in range(size)]


def test_ranks_are_those_of_brute_force_on_thousands_of_rungs():
    for n, points in enumerate(rungs(2000)):
        expected = brute_force_fronts(points)
        assert [list(front) for front in nondominated_fronts(points)] == expected
        whole = []
        for front in expected:
            far = brute_force_distances([points[i] for i in front])
            whole += [front[i] for i in sorted(range(len(front)), key=lambda i: (-far[i], i))]
        assert list(nondominated_order(points)) == whole
        assert whole[rank_of_last(points)] == len(points) - 1
        if n % 5 == 0:
            assert list(select_best(points, 3)) == whole[:3]
            assert all(whole[at] == i for i, at in enumerate(nondominated_ranks(points)))


def test_the_net_is_that_of_brute_force():
    for points in rungs(200, coarse=0.0):  # of equal distances rounding decides
        whole = [
            f[i]
            for f in brute_force_fronts(points)
            for i in brute_force_epsilon_net([points[j] for j in f])
        ]
        assert list(nondominated_order(points, "epsilon-net")) == whole
        assert [whole[at] for at in nondominated_ranks(points, "epsilon-net")] == list(
            range(len(points))
        )


@pytest.mark.parametrize("split", ["crowding", "epsilon-net"])
def test_what_is_kept_is_whole_fronts_and_a_part_of_one(split):
    for points in rungs(80):
        for best in range(1, len(points) + 1):
            kept = set(np.flatnonzero(nondominated_ranks(points, split) < best))
            assert len(kept) == best
            shares = [len(kept & set(front)) / len(front) for front in brute_force_fronts(points)]
            assert shares == sorted(shares, reverse=True)
            assert sum(0 < share < 1 for share in shares) <= 1


def test_ranks_are_not_the_sorted_indices():
    """Smaller is better in Syne Tune: (2,2) (3,3) (1,1) have the ranks 1, 2, 0, not 2, 0, 1."""
    points = -np.array([(2, 2), (3, 3), (1, 1)])
    assert list(nondominated_ranks(points)) == [1, 2, 0] and list(nondominated_order(points)) == [
        2,
        0,
        1,
    ]


def test_the_net_is_an_order_of_the_points_not_their_ranks_in_it():
    """NePS indexes a front by ranks: the middle one of these five would be third, not last."""
    front = [(0.0, 1.0), (0.45, 0.55), (0.5, 0.5), (1.0, 0.0), (0.9, 0.1)]
    assert list(nondominated_order(front, "epsilon-net")) == [3, 0, 2, 4, 1]
    assert list(nondominated_ranks(front, "epsilon-net")) == [1, 4, 2, 0, 3]


def test_a_crowded_point_of_the_first_front_is_better_than_a_lone_one_of_the_last():
    """SMAC3 sorts the selected points by crowding distance alone, across fronts."""
    first = [(x, 1 - x) for x in (0.0, 0.49, 0.5, 0.51, 1.0)]
    ranks = nondominated_ranks([*first, (-1.0, -1.0), (-2.0, -2.0)])
    assert set(ranks[:5]) == set(range(5)) and list(ranks[5:]) == [5, 6]
    assert np.isinf(crowding_distance([(-1.0, -1.0)])).all()


def test_nothing_has_no_order():
    assert (
        list(nondominated_order([])) == []
        and list(nondominated_ranks([])) == []
        and list(nondominated_fronts([])) == []
    )
