"""Scores by hand, intervals, and batteries."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import torch
from reproducibility import seeded_generator

from adv import FGSM, Battery, Linf, Score, quick_battery, report_battery
from adv.evaluation.image_table import per_image_objectives, unpack
from adv.intervals import wilson


def score(rows: list[str], eps: tuple[float, ...]) -> Score:
    """Return a score from rows of 0 and 1, the natural one first."""
    ok = torch.tensor([[mark == "1" for mark in row] for row in rows])
    return Score(tuple(f"a{i}" for i in range(len(eps))), eps, ok)


# --- arithmetic ---


HAND = score(["1110", "1100", "1000"], (0.02, 0.06))


def test_a_table_by_hand():
    assert HAND.images == 4
    assert HAND.natural_accuracy == 0.75
    assert HAND.attacked_accuracies == (0.5, 0.25)
    assert HAND.attacked_score == 75  # percent points, summed; natural accuracy is not in it
    assert HAND.mean == 0.375
    assert HAND.worst == 0.25
    # (0.75 + 0.5) / 2 * 0.02 + (0.5 + 0.25) / 2 * 0.04, over 0.06
    assert HAND.area == pytest.approx((0.0125 + 0.015) / 0.06)
    assert [point[:2] for point in HAND.curve] == [(0, 0.75), (0.02, 0.5), (0.06, 0.25)]


def test_worst_is_counted_for_each_image_and_not_for_each_attack():
    each_stands_once = score(["111", "100", "010", "001"], (0.1, 0.1, 0.1))
    assert each_stands_once.attacked_accuracies == pytest.approx((1 / 3,) * 3)
    assert each_stands_once.worst == 0
    assert score(["0111", "1111"], (0.1,)).worst == 0.75  # wrong without an attack is wrong


def test_area_of_a_straight_curve_is_its_closed_form():
    """Image i of 100 falls at eps i / 1000: R(eps) = 1 - 10 eps, whose area up to 0.1 is half."""
    radii = tuple(i / 1000 for i in range(1, 101))
    ok = torch.stack([torch.arange(1, 101) > i for i in range(101)])
    straight = Score(tuple(map(str, radii)), radii, ok)
    assert straight.area == pytest.approx(0.5)
    backwards = Score(straight.names, radii[::-1], ok[[0, *range(100, 0, -1)]])
    assert backwards.area == pytest.approx(0.5)


def test_area_counts_an_image_until_it_first_falls():
    risen = score(["11", "01", "11"], (0.1, 0.2))
    assert risen.area == score(["11", "01", "01"], (0.1, 0.2)).area == pytest.approx(0.625)


def test_area_takes_the_least_of_several_attacks_at_one_radius():
    assert score(["1111", "1110", "1000"], (0.1, 0.1)).area == pytest.approx((1 + 0.25) / 2)
    assert score(["1100", "1100"], (0.0,)).area == 0.5
    assert score(["11", "11", "01"], (0.0, 0.1)).area == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, Statistics in Medicine 17, table I
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),  # n / (n + z^2)
    ],
)
def test_wilson_against_the_literature(right, n, low, high):
    assert wilson(right / n, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_solves_its_equation_and_holds_its_share():
    """The ends are where the share is z standard errors away (Wilson 1927)."""
    for share, n in itertools.product((0.0, 0.1, 0.5, 0.97, 1.0), (1, 10, 1000)):
        low, high = wilson(share, n)
        assert 0 <= low <= share <= high <= 1
        for end in {low, high} - {0.0, 1.0}:
            error = (end * (1 - end) / n) ** 0.5
            assert abs(end - share) == pytest.approx(1.959964 * error, rel=1e-5)
    for share, n in ((-0.1, 5), (1.1, 5), (0.5, 0), (float("nan"), 5)):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            wilson(share, n)


def test_attacks_at_one_radius_are_shown_in_the_order_of_the_battery():
    """A cascade's accuracies fall from row to row, whatever the attacks are called."""
    ok = score(["1111", "1000", "1110", "1100"], (0.3, 0.1, 0.1))
    assert ok.order == [1, 2, 0]
    assert [point[:2] for point in ok.curve] == [(0, 1), (0.1, 0.75), (0.1, 0.5), (0.3, 0.25)]


def test_intervals_hold_their_numbers():
    low, high = HAND.natural_interval
    assert (low, high) == wilson(0.75, 4)
    low, high = HAND.attacked_interval
    assert (low, high) == pytest.approx(tuple(200 * end for end in wilson(0.375, 4)))
    assert low < HAND.attacked_score < high


@pytest.mark.parametrize("n", [1, 7, 8, 64, 1000])
def test_a_score_survives_to_dict_and_back(n):
    ok = torch.rand(4, n, generator=seeded_generator()) < 0.5
    whole = Score(("a", "b", "c"), (0.1, 0.2, 0.3), ok, votes=20, draws=5)
    again = Score.from_dict(json.loads(json.dumps(whole.to_dict())))
    assert torch.equal(again.ok, ok) and again.ok.dtype == torch.bool
    assert (again.names, again.eps, again.votes, again.draws) == (
        whole.names,
        whole.eps,
        20,
        5,
    )
    assert again.attacked_score == whole.attacked_score


# --- batteries ---


def test_the_reports_battery():
    battery = report_battery()
    attacks: list[tuple[str, Any]] = [*battery.attacks]
    points = [(attack.ball.eps, attack.step_size) for _, attack in attacks]
    assert points == [
        (0.01, 0.0025),
        (0.02, 0.005),
        (0.03, 0.008),
        (0.04, 0.01),
        (0.06, 0.015),
        (0.1, 0.02),
    ]
    for name, attack in attacks:
        assert isinstance(attack.ball, Linf) and attack.steps == 20 and attack.random_start
        assert name == f"pgd20-{attack.ball.eps:g}"
    assert battery.draws >= 5 and battery.votes > battery.draws
    shorter: list[tuple[str, Any]] = [*report_battery(3).attacks]
    assert {attack.steps for _, attack in shorter} == {3}
    assert len(quick_battery().attacks) == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"attacks": ()}, "different names"),
        ({"attacks": (("a", FGSM(Linf(0.1))), ("a", FGSM(Linf(0.2))))}, "different names"),
        ({"draws": 0}, "1 or more"),
        ({"votes": 0}, "1 or more"),
    ],
)
def test_invalid_batteries_are_rejected(settings, said):
    with pytest.raises(ValueError, match=said):
        Battery(**{"attacks": (("a", FGSM(Linf(0.1))),), **settings})


def test_the_table_says_what_each_image_adds_to_both_objectives():
    table = HAND.to_dict()
    assert unpack(table).tolist() == HAND.ok.tolist()
    natural, attacked = per_image_objectives(table).mean(axis=1)
    assert natural == pytest.approx(HAND.natural_accuracy)
    assert attacked == pytest.approx(HAND.attacked_score)


# --- as text ---


def test_a_score_prints_as_a_table():
    lines = str(HAND).splitlines()
    assert lines[0] == "4 images, 95 % Wilson intervals"
    assert lines[1].split() == ["attack", "eps", "accuracy", "interval"]
    assert lines[2].split() == ["none", "0", "75.0", "%", "30.1", "to", "95.4"]
    assert lines[4].split()[:4] == ["a1", "0.06", "25.0", "%"]
    assert len({len(line) for line in lines[1:5]}) == 1
    assert lines[5].startswith("attacked score 75.0 (") and lines[5].endswith("worst case 25.0 %")
    assert repr(HAND) == "<Score of 4 images: natural 75.0 %, attacked score 75.0 of 200>"


def test_a_score_says_how_a_random_net_was_asked_and_shows_names_as_they_are():
    ok = torch.ones(2, 3, dtype=torch.bool)
    random = Score(("<i>pgd",), (0.1,), ok, votes=20, draws=5)
    assert str(random).splitlines()[0].endswith("5 draws per gradient, 20 votes")
    assert len(str(random).splitlines()) == 4  # of one attack there are no aggregates
    assert "<th scope='row'>&lt;i&gt;pgd</th><td>0.1</td>" in random._repr_html_()
