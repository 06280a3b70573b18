"""What so many images can show, and what differences on the same images are worth."""

import math

import numpy as np
import pytest

from adv.intervals import (
    MISSED_BY_MARGIN,
    Z95,
    gap_limit,
    mcnemar,
    paired_interval,
    smallest_visible_share,
    wilson,
)


@pytest.mark.parametrize("n", [20, 40, 256, 1000])
def test_the_smallest_visible_share_is_the_first_whose_interval_clears_the_limit(n):
    share = smallest_visible_share(0.04, n)
    assert wilson(share, n)[0] > 0.04 >= wilson(share - 1 / n, n)[0]


def test_figures_of_the_documentation():
    shown = [round(100 * smallest_visible_share(0.04, n), 1) for n in (40, 100, 256, 1000)]
    assert shown == [12.5, 8.0, 6.6, 5.3]


def test_too_few_images_show_nothing():
    assert smallest_visible_share(0.9, 2) == 1


def test_the_limit_of_a_gap_grows_with_what_can_be_fooled():
    assert gap_limit(0.8, 0.5) == pytest.approx(0.22 * 0.3)
    assert gap_limit(0.8, 0.8) == gap_limit(0.5, 0.49) == 0.01
    # PGD-50 and AutoAttack on CIFAR-10: sound nets lie below their limit, masked ones above it.
    assert gap_limit(0.8061, 0.4944) > 0.5577 - 0.4944
    assert gap_limit(0.848, 0.3833) < 0.5146 - 0.3833


def test_the_limit_is_lower_for_losses_that_do_not_saturate():
    assert gap_limit(0.8, 0.5, MISSED_BY_MARGIN) == pytest.approx(0.05 * 0.3)


# --- paired differences ---


def test_a_paired_difference_by_hand():
    """7 won and 2 lost of 50: (7 - 2) / 52 +- z sqrt((8/52 + 3/52 - (5/52)^2) / 52)."""
    middle, spread = 5 / 52, math.sqrt((11 / 52 - (5 / 52) ** 2) / 52)
    ends = paired_interval(5, 9, 50)
    assert ends == pytest.approx((middle - Z95 * spread, middle + Z95 * spread))
    assert paired_interval(-5, 9, 50) == pytest.approx((-ends[1], -ends[0]))


def test_sums_of_equal_verdicts_have_the_interval_of_one_verdict():
    """Four attacks that always agree are one attack, in another unit."""
    one, four = paired_interval(5, 9, 50), paired_interval(20, 144, 50, differing=9, largest=4)
    assert four == pytest.approx([4 * end for end in one])


def test_a_paired_interval_holds_the_observed_mean_and_ends_at_what_is_possible():
    assert paired_interval(1, 1, 1) == pytest.approx((1 / 3 - Z95 * math.sqrt(8 / 27), 1))
    low, high = paired_interval(0, 0, 100)
    assert low == -high < 0
    assert paired_interval(100, 100, 100)[1] == 1.0
    for total, squares, n in ((101, 101, 100), (0, 101, 100), (0, 0, 0)):
        with pytest.raises(ValueError, match="add up to"):
            paired_interval(total, squares, n)


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_the_interval_of_a_sum_holds_it_19_times_of_20(share):
    """1,000 draws of 200 images, some of which differ by up to five verdicts."""
    rng = np.random.default_rng(0)
    values = np.arange(-3, 6)
    apart = np.where(rng.random((1000, 200)) < share, rng.choice(values, (1000, 200)), 0)
    held = 0
    for row in apart:
        differing = int(np.count_nonzero(row))
        ends = paired_interval(
            int(row.sum()), int((row**2).sum()), 200, differing=differing, largest=6
        )
        held += ends[0] <= share * values.mean() <= ends[1]
    assert held / 1000 > 0.95 - 3 * (0.05 * 0.95 / 1000) ** 0.5


def test_mcnemar_by_hand():
    """1 of 6 or fewer, both tails of a fair coin: 2 (1 + 6) / 2^6."""
    assert mcnemar(1, 5) == mcnemar(5, 1) == pytest.approx(14 / 64)
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1.0
    assert mcnemar(0, 10) == pytest.approx(2 / 2**10)
