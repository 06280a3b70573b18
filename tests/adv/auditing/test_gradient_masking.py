"""How much a battery may miss before its gap is flagged."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from adv import PGD, PMA, Battery, Linf, Split, Worst, autoattack, margin_battery, report_battery
from adv.auditing.confidence import mean_confidence
from adv.auditing.gradient_masking import Gap, check_masking_gap, missed_share_limit
from adv.intervals import MISSED_BY_MARGIN, expected_miss

BALL = Linf(0.03)
EXPECTED = expected_miss(0.6)


@pytest.mark.parametrize(
    ("battery", "limit"),
    [
        (report_battery(), EXPECTED),
        (margin_battery(), MISSED_BY_MARGIN),
        (autoattack(BALL), MISSED_BY_MARGIN),
        (Battery((("pma", PMA(BALL)),)), EXPECTED),
        (Battery((("ce", PGD(BALL)), ("margin", PGD(BALL, loss="margin")))), MISSED_BY_MARGIN),
        (
            Battery((("ce", PGD(BALL)), ("far", PGD(Linf(0.1), loss="dlr")))),
            EXPECTED,
        ),
        (Battery((("both", Worst((PGD(BALL), PGD(BALL, loss="mifpe")))),)), MISSED_BY_MARGIN),
    ],
)
def test_a_battery_may_miss_less_if_a_loss_does_not_saturate(battery, limit):
    assert missed_share_limit(battery, lambda: 0.6) == limit


def test_the_same_gap_is_flagged_under_the_margin_score_only():
    gap = Gap(0.03, claimed=0.55, strong=0.5, interval=(0.03, 0.07), images=900, natural=0.8)
    assert not gap.flagged
    assert replace(gap, missed=MISSED_BY_MARGIN).flagged


@pytest.mark.parametrize(
    ("battery", "left", "failed"),
    [
        # Natural 90 %; left by the battery, by PGD on the margin as well, and by all attacks.
        (PGD(BALL), (58, 44, 43), []),  # a third is missed of a net that is not sure: MART
        (PGD(BALL), (70, 44, 43), ["masking gap"]),  # the cross-entropy is silent
        (PGD(BALL), (58, 44, 30), ["margin against stronger attacks"]),
        (PGD(BALL, loss="margin"), (44, 43), []),
        (PGD(BALL, loss="margin"), (58, 43), ["masking gap"]),
    ],
)
def test_an_audit_tells_a_weak_loss_from_a_masked_gradient(battery, left, failed):
    claimed, *others = (torch.arange(1000) < 10 * each for each in left)
    answers = iter([claimed, *others] if len(others) == 1 else others)
    context: Any = SimpleNamespace(
        battery=Battery((("attack", battery),)),
        ball=BALL,
        steps=20,
        n=1000,
        random=False,
        natural=torch.arange(1000) < 900,
        standing=claimed,
        confidence=0.05,
        evaluate_under=lambda *_: next(answers),
    )
    findings = list(check_masking_gap(context))
    assert [finding.name for finding in findings if not finding.passed] == failed
    assert findings[0].figure == pytest.approx((left[0] - left[-1]) / 100)


def test_the_expected_gap_falls_with_the_confidence_of_a_net():
    class Sure(torch.nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.scale = scale

        def forward(self, x):
            return self.scale * x.flatten(1)[:, :2]

    split = Split(
        torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8)[:, None, None], torch.arange(2)
    )
    for scale in (0.0, 1.0, 3.0):
        expected = 1 / (1 + torch.exp(torch.tensor(-scale)))
        assert mean_confidence(Sure(scale), split, seed=0) == pytest.approx(float(expected))
    assert expected_miss(0.9) < expected_miss(0.5) < 0.5
