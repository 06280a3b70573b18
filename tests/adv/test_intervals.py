"""What so many images can show."""

import pytest

from adv.intervals import MISSED_BY_MARGIN, gap_limit, smallest_visible_share, wilson


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
