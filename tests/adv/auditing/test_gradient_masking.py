"""How much a battery may miss before its gap is flagged."""

from dataclasses import replace

import pytest

from adv import PGD, PMA, Battery, Linf, Worst, autoattack, margin_battery, report_battery
from adv.auditing.gradient_masking import Gap, missed_share_limit
from adv.intervals import MISSED_BY_CROSS_ENTROPY, MISSED_BY_MARGIN

BALL = Linf(0.03)


@pytest.mark.parametrize(
    ("battery", "limit"),
    [
        (report_battery(), MISSED_BY_CROSS_ENTROPY),
        (margin_battery(), MISSED_BY_MARGIN),
        (autoattack(BALL), MISSED_BY_MARGIN),
        (Battery((("pma", PMA(BALL)),)), MISSED_BY_CROSS_ENTROPY),
        (Battery((("ce", PGD(BALL)), ("margin", PGD(BALL, loss="margin")))), MISSED_BY_MARGIN),
        (
            Battery((("ce", PGD(BALL)), ("far", PGD(Linf(0.1), loss="dlr")))),
            MISSED_BY_CROSS_ENTROPY,
        ),
        (Battery((("both", Worst((PGD(BALL), PGD(BALL, loss="mifpe")))),)), MISSED_BY_MARGIN),
    ],
)
def test_a_battery_may_miss_less_if_a_loss_does_not_saturate(battery, limit):
    assert missed_share_limit(battery) == limit


def test_the_same_gap_is_flagged_under_the_margin_score_only():
    gap = Gap(0.03, claimed=0.55, strong=0.5, interval=(0.03, 0.07), images=900, natural=0.8)
    assert not gap.flagged
    assert replace(gap, missed=MISSED_BY_MARGIN).flagged
