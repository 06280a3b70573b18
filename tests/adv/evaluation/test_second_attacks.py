"""Second attacks of a battery, which a deterministic net meets after all others."""

import re
from dataclasses import replace

import pytest
import torch
from evaluation_cases import (
    RADII,
    battery,
    random_conv_net,
    split_labelled_by,
    stand_by_hand,
)
from small_nets import CountingNet
from torch import nn

from adv import (
    APGD,
    FGSM,
    L2,
    PGD,
    Battery,
    Linf,
    OwnAttack,
    Worst,
    evaluate,
    margin_battery,
)
from adv.runtime.random_layers import Noise

WEAK, STRONG = 1, 6  # steps


def attack(ball, steps):
    """Return an attack whose result does not depend on its seed."""
    return PGD(ball, steps, random_start=False)


def with_second(balls, second=None, steps=STRONG):
    """Return a weak attack in each ball, and a stronger one afterwards, there or in others."""
    first = battery(*(attack(ball, WEAK) for ball in balls))
    there = balls if second is None else second
    return replace(first, second_attacks=tuple(attack(ball, steps) for ball in there))


def stand_alone(net, split, balls, steps):
    """Return [balls, n] booleans: which images stand in each ball under one attack alone."""
    rows = [evaluate(net, split, battery(attack(ball, steps))).ok[1] for ball in balls]
    return torch.stack(rows)


@pytest.mark.parametrize("kind", [Linf, L2])
@pytest.mark.parametrize("order", [1, -1])
def test_an_image_stands_in_as_many_balls_as_by_hand(kind, order):
    net = random_conv_net()
    split = split_labelled_by(net)
    balls = [kind(eps if kind is Linf else 8 * eps) for eps in RADII]
    found = evaluate(net, split, with_second(balls[::order])).ok[1:]
    found = found if order > 0 else found.flip(0)
    weak, strong = (stand_alone(net, split, balls, steps) for steps in (WEAK, STRONG))
    assert torch.equal(found, stand_by_hand(weak, strong))
    first = evaluate(net, split, replace(with_second(balls), second_attacks=())).ok[1:]
    assert found.sum() < first.sum()


def test_who_stands_everywhere_meets_one_of_them():
    net = random_conv_net()
    split = split_labelled_by(net, wrong=7)
    counting = CountingNet(net)
    tiny = [Linf(1e-7 * k) for k in (1, 2, 3)]
    found = evaluate(counting, split, with_second(tiny))
    assert found.ok.sum(1).tolist() == [53] * 4
    assert counting.seen == 60 + 53 * (3 * (WEAK + 1) + STRONG + 1)


def test_what_falls_in_a_ball_falls_in_larger_ones_and_not_in_smaller_ones():
    net = random_conv_net()
    split = split_labelled_by(net)
    balls = [Linf(eps) for eps in RADII]
    first = evaluate(net, split, battery(*(attack(ball, WEAK) for ball in balls))).ok
    found = evaluate(net, split, with_second(balls, [balls[2]])).ok
    fell = first[3] & ~stand_alone(net, split, balls, STRONG)[2]
    assert fell.any()
    assert torch.equal(found[:3], first[:3])
    # Who stood in a larger ball met no second attack there, and counts as standing below it.
    largest = first[3:].sum(0) == 1
    assert torch.equal(found[3], first[3] & ~(fell & largest))
    assert torch.equal(found[4:], first[4:])


def test_of_two_attacks_in_a_ball_both_rows_lose_what_it_fools_and_nothing_else():
    net = random_conv_net()
    split = split_labelled_by(net)
    ball = Linf(0.02)
    two = battery(attack(ball, WEAK), attack(ball, 2))
    first = evaluate(net, split, two).ok
    found = evaluate(net, split, replace(two, second_attacks=(attack(ball, STRONG),))).ok
    fell = first[2] & ~stand_alone(net, split, [ball], STRONG)[0]
    assert fell.any() and (first[1] & ~first[2]).any()
    assert torch.equal(found, first & ~torch.stack([fell & False, fell, fell]))


def test_members_of_a_cascade_all_attack():
    net = random_conv_net()
    split = split_labelled_by(net)
    ball = Linf(0.02)
    cascade = Worst((attack(ball, WEAK), attack(ball, STRONG)))
    found = evaluate(net, split, Battery((("one", attack(ball, 2)),), second_attacks=(cascade,)))
    rows = [stand_alone(net, split, [ball], steps)[0] for steps in (WEAK, 2, STRONG)]
    assert torch.equal(found.ok[1], torch.stack(rows).all(0))


@pytest.mark.parametrize("ball", [Linf(0.015), L2(0.02)])
def test_a_ball_that_no_attack_searches_is_refused(ball):
    with pytest.raises(ValueError, match=f"searches {re.escape(repr(ball))}, which none"):
        with_second([Linf(eps) for eps in RADII], [ball])


def test_a_random_net_does_not_meet_them():
    net = nn.Sequential(Noise(0.02), random_conv_net())
    split = split_labelled_by(random_conv_net())
    balls = [Linf(eps) for eps in RADII]
    first = evaluate(net, split, with_second(balls, []))
    assert torch.equal(evaluate(net, split, with_second(balls)).ok, first.ok)


def test_a_net_with_too_few_classes_for_them_does_not_meet_them():
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    split = split_labelled_by(net, wrong=0)
    one = battery(attack(Linf(0.02), WEAK))
    targeted = APGD(Linf(0.02), loss="dlr-targeted")
    assert not targeted.supports(3)
    found = evaluate(net, split, replace(one, second_attacks=(targeted,)))
    assert torch.equal(found.ok, evaluate(net, split, one).ok)


def stay(ball):
    """Return an attack that fools nothing, and is called with a whole batch."""
    return OwnAttack(lambda model, x, y: x.clone(), ball, "stay")


@pytest.mark.parametrize("second", [None, stay(Linf(RADII[0])), attack(Linf(RADII[0]), 1)])
def test_adversarial_images_are_those_of_the_attack_that_fools_an_image(second):
    net = random_conv_net().eval()
    split = split_labelled_by(net)
    asked = with_second([Linf(eps) for eps in RADII])
    asked = replace(asked, second_attacks=(second,)) if second else asked
    found = evaluate(net, split, asked, keep_images=True)
    assert found.adversarial is not None
    clean = split.images / 255
    for row, eps in enumerate(RADII):
        images = found.adversarial[row]
        assert (images - clean).abs().max() <= eps + 1e-6
        with torch.no_grad():
            assert torch.equal(net(images).argmax(1) == split.labels, found.ok[1 + row])


def test_the_margin_battery_has_one_at_each_radius():
    battery = margin_battery(7)
    balls = [attack.ball for _, attack in battery.attacks]
    expected = [APGD(ball, 3, loss="dlr-targeted", order="distance") for ball in balls]
    assert list(battery.second_attacks) == expected
    assert margin_battery(1).second_attacks[0] == replace(expected[0], steps=1)


@pytest.mark.parametrize("wrong", [FGSM(Linf(0.1)), ("margin",), (None,)])
def test_what_is_no_tuple_of_attacks_is_refused(wrong):
    with pytest.raises(ValueError, match="second_attacks is a tuple of attacks: "):
        replace(battery(FGSM(Linf(0.1))), second_attacks=wrong)
