"""A nested battery: later attacks begin in the largest ball in which an image stands."""

import itertools
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

from adv import APGD, L2, PGD, Linf, Square, Worst, evaluate
from adv.attacks.composite import members
from adv.runtime.random_layers import Noise

WEAK, STRONG = 1, 6  # steps


def cascade(ball):
    """Return a weak and a strong attack whose results do not depend on anything else."""
    return Worst(tuple(PGD(ball, steps, random_start=False) for steps in (WEAK, STRONG)))


def standing_alone(net, split, ball, part):
    """Return which images stand under one attack of a cascade alone."""
    return evaluate(net, split, battery(list(members(cascade(ball)))[part])).ok[1]


@pytest.mark.parametrize("kind", [Linf, L2])
@pytest.mark.parametrize("order", [1, -1])
def test_an_image_stands_in_as_many_balls_as_by_hand(kind, order):
    net = random_conv_net()
    split = split_labelled_by(net)
    balls = [kind(eps if kind is Linf else 8 * eps) for eps in RADII]
    found = evaluate(net, split, battery(*map(cascade, balls[::order]), nested=True)).ok[1:]
    found = found if order > 0 else found.flip(0)
    weak, strong = (
        torch.stack([standing_alone(net, split, ball, part) for ball in balls]) for part in (0, 1)
    )
    assert torch.equal(found, stand_by_hand(weak, strong))
    counts = found.sum(1).tolist()
    assert 50 > counts[0] > counts[-1] > 0


def test_who_stands_everywhere_meets_the_later_attacks_once():
    net = random_conv_net()
    split = split_labelled_by(net, wrong=7)
    tiny = [1e-7 * k for k in (1, 2, 3)]
    counting = CountingNet(net)
    found = evaluate(counting, split, battery(*(cascade(Linf(e)) for e in tiny), nested=True))
    assert found.ok.sum(1).tolist() == [53] * 4
    assert counting.seen == 60 + 53 * (3 * (WEAK + 1) + STRONG + 1)


def test_nothing_else_is_said_where_balls_are_nested_indeed():
    net = random_conv_net()
    split = split_labelled_by(net)
    attacks = [Worst((PGD(Linf(e), 5), APGD(Linf(e), 10), Square(Linf(e), 50))) for e in RADII]
    each = battery(*attacks)
    counts, tables = [], []
    for nested in (False, True):
        counting = CountingNet(net)
        tables.append(evaluate(counting, split, replace(each, nested=nested)).ok)
        counts.append(counting.seen)
    assert torch.equal(*tables)
    assert counts[1] < 0.7 * counts[0]


def test_the_falls_under_the_first_attack_count_in_each_ball():
    net = random_conv_net()
    split = split_labelled_by(net)
    attacks = [Worst((PGD(Linf(e), STRONG), PGD(Linf(e), 1, random_start=False))) for e in RADII]
    first = evaluate(net, split, battery(*(PGD(Linf(e), STRONG) for e in RADII))).ok
    found = evaluate(net, split, battery(*attacks, nested=True)).ok
    assert (found <= first).all()


def test_so_do_those_of_two_attacks_in_each_ball():
    net = random_conv_net()
    split = split_labelled_by(net)
    one, other = (
        [PGD(Linf(e), steps, random_start=False) for e in RADII] for steps in (WEAK, STRONG)
    )
    apart = [evaluate(net, split, battery(*attacks)).ok for attacks in (one, other)]
    weakest = [Worst((attack, replace(attack, steps=1))) for attack in (*one, *other)]
    found = evaluate(net, split, battery(*weakest, nested=True)).ok[1:5]
    assert torch.equal(found, (apart[0] & apart[1])[1:])


def test_attacks_in_the_same_ball_share_their_verdict():
    net = random_conv_net()
    split = split_labelled_by(net)
    weak, strong = members(cascade(Linf(0.02)))
    found = evaluate(net, split, battery(weak, strong, nested=True)).ok
    assert torch.equal(found[1], found[2])
    assert torch.equal(found[1], evaluate(net, split, battery(weak, strong)).ok[2])


def test_a_ball_without_room_leaves_every_image():
    net = random_conv_net()
    split = split_labelled_by(net)
    found = evaluate(net, split, battery(PGD(Linf(0.0), 2), cascade(Linf(0.02)), nested=True)).ok
    assert torch.equal(found[1], found[0])
    assert found[2].sum() < 50


def test_a_random_net_stands_in_the_smaller_balls_too():
    net = torch.nn.Sequential(Noise(0.05), random_conv_net())
    split = split_labelled_by(random_conv_net())
    found = evaluate(net, split, battery(*(cascade(Linf(e)) for e in RADII), nested=True)).ok
    for smaller, larger in itertools.pairwise(found):
        assert (larger <= smaller).all()
    assert 0 < found[-1].sum() < found[1].sum() <= found[0].sum()


def test_images_are_not_kept():
    net = random_conv_net()
    with pytest.raises(ValueError, match="nested battery"):
        evaluate(
            net,
            split_labelled_by(net),
            battery(cascade(Linf(0.01)), nested=True),
            keep_images=True,
        )
