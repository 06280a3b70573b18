import moocore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume

from search.record.pareto import dominates, front, hypervolume

# A coarse grid, so that equal values and equal points are common.
VALUE = st.integers(-4, 4).map(lambda n: n / 4)
POINTS = st.lists(st.tuples(VALUE, VALUE), max_size=12)
FINITE = st.floats(0, 1, allow_subnormal=False)


def beats(p, q):
    return all(a >= b for a, b in zip(p, q, strict=True)) and p != q


@given(POINTS)
def test_dominance_and_front_are_those_of_brute_force(points):
    assert dominates(points).tolist() == [[beats(p, q) for q in points] for p in points]
    assert front(points).tolist() == [not any(beats(p, q) for p in points) for q in points]


@given(POINTS)
def test_hypervolume_is_the_number_of_grid_cells_below_the_front(points):
    cells = [(x, y) for x in range(-4, 4) for y in range(-4, 4)]
    below = sum(any(4 * p[0] > x and 4 * p[1] > y for p in points) for x, y in cells)
    assert hypervolume(points, (-1, -1)) == pytest.approx(below / 16)


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=20))
def test_hypervolume_is_what_optuna_finds(points):
    theirs = compute_hypervolume(-np.array(points), np.array([0.0, 0.0]))
    assert hypervolume(points, (0, 0)) == pytest.approx(theirs, abs=1e-12)


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=40))
def test_hypervolume_and_front_are_what_moocore_finds(points):
    p = np.array(points)
    theirs = moocore.hypervolume(p, ref=[0.0, 0.0], maximise=True)
    assert hypervolume(p, (0, 0)) == pytest.approx(theirs, abs=1e-12)
    on = moocore.is_nondominated(p, maximise=True, keep_weakly=True)
    assert front(p).tolist() == np.asarray(on).tolist()


@given(POINTS, st.tuples(VALUE, VALUE))
def test_another_point_never_makes_the_hypervolume_smaller(points, more):
    assert hypervolume([*points, more], (-1, -1)) >= hypervolume(points, (-1, -1)) - 1e-12


def test_nothing_has_no_front_and_no_area():
    assert front([]).tolist() == [] and dominates([]).shape == (0, 0)
    assert hypervolume([], (0, 0)) == 0.0


@pytest.mark.parametrize("wrong", [[1.0, 2.0], [[float("nan"), 0.0]], [[float("inf"), 0.0]]])
def test_what_is_not_a_list_of_finite_points_is_refused(wrong):
    with pytest.raises(ValueError, match=r"rows|finite"):
        front(wrong)


def test_hypervolume_is_for_two_objectives():
    with pytest.raises(ValueError, match="two objectives"):
        hypervolume([[1.0, 2.0, 3.0]], (0, 0, 0))
