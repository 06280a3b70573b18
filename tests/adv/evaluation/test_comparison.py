"""Paired differences of two scores, by hand."""

import pytest
import torch

from adv import Score, compare
from adv.cli.compare_run import describe
from adv.intervals import paired_interval


def score(*rows: str, eps: tuple[float, ...] = (0.03, 0.01)) -> Score:
    """Return a score from rows of 0 and 1, the natural one first."""
    ok = torch.tensor([[mark == "1" for mark in row] for row in rows])
    return Score(tuple(f"a{radius}" for radius in eps), eps, ok)


FIRST = score("1111", "0001", "0011")
SECOND = score("1110", "1100", "1100")


def test_two_tables_by_hand():
    natural, small, large, worst, total = compare(FIRST, SECOND)
    assert (natural.name, natural.eps, natural.won, natural.lost) == ("no attack", 0.0, 0, 1)
    assert natural.difference == -0.25
    assert (small.name, small.eps, small.won, small.lost) == ("a0.01", 0.01, 2, 2)
    assert (large.name, large.won, large.lost) == ("a0.03", 2, 1)
    assert large.p_value == 1.0
    assert (worst.name, worst.eps, worst.first, worst.second) == ("worst case", None, 0.25, 0.5)
    # the images differ by +2, +2, -1 and -2 verdicts
    assert (total.first, total.second, total.difference) == (75, 100, 25)
    low, high = paired_interval(1, 13, 4, differing=4, largest=2)
    assert total.interval == pytest.approx((100 * low, 100 * high))
    assert total.p_value is None


def test_a_comparison_turned_round_has_the_signs_turned():
    for row, back in zip(compare(FIRST, SECOND), compare(SECOND, FIRST), strict=True):
        assert (row.difference, row.interval) == (
            -back.difference,
            (-back.interval[1], -back.interval[0]),
        )
        assert row.p_value == back.p_value


def test_a_net_cannot_be_told_from_itself():
    for row in compare(FIRST, FIRST):
        assert row.difference == 0 and not row.told_apart
        assert row.interval[0] < 0 < row.interval[1]


def test_one_attack_has_no_aggregates():
    one = score("11", "10", eps=(0.1,))
    assert [row.name for row in compare(one, one)] == ["no attack", "a0.1"]


def test_other_images_or_attacks_are_refused():
    with pytest.raises(ValueError, match="on 4 and on 2 images"):
        compare(FIRST, score("11", "10", "10"))
    with pytest.raises(ValueError, match="different batteries"):
        compare(FIRST, score("1111", "0001", "0011", eps=(0.03, 0.02)))


def test_only_a_difference_whose_interval_excludes_zero_is_named():
    weak = score("1" * 40, "0" * 40, "0" * 40)
    strong = score("1" * 40, "1" * 40, "1" * 40)
    natural, robust = describe(compare(strong, weak), "A", "B")
    assert natural.startswith("A and B cannot be told apart without an attack: the interval")
    assert robust.startswith("A is more robust: by 200.0 points of the attacked score (")
    assert describe(compare(weak, strong), "A", "B")[1].startswith("B is more robust: by 200.0")
