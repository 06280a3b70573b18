"""Attacks towards a given class, on nets whose boundaries are known by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from reproducibility import seeded_generator
from small_nets import self_labelled_problem
from torch import nn

from adv import APGD, L2, PGD, Battery, Linf, Split, Square, Worst, evaluate
from adv.attacks.losses import LOSSES, loss_target
from adv.cli.aim import aim, find_class
from adv.evaluation.reached_targets import Reached, count_reached

INF, TWO = Linf(0.05), L2(0.5)
LOGITS = torch.tensor([[5.0, -1.0, 3.0, -2.0]])


class Corners(nn.Module):
    """Class 0 is at rest; class k is reached by moving channel k - 1 up by its distance."""

    def __init__(self, *distances: float) -> None:
        super().__init__()
        self.distances = torch.tensor(distances)

    def forward(self, x):
        moved = (x - 0.5).mean((2, 3))[:, : len(self.distances)] - self.distances
        return 10 * torch.cat([0 * moved[:, :1], moved], 1)


def at_rest(n: int = 4):
    return torch.full((n, 3, 6, 6), 0.5), torch.zeros(n, dtype=torch.long)


@pytest.mark.parametrize(("right", "target"), [(0, 3), (2, 1), (1, 0)])
def test_targeted_losses_by_hand(right, target):
    """The margin is to the largest other logit, also where logits are negative."""
    pair = torch.tensor([[right, target]])
    others = [value for k, value in enumerate(LOGITS[0].tolist()) if k != target]
    margin = LOSSES["margin-targeted"](LOGITS, pair).item()
    assert margin == pytest.approx(LOGITS[0, target].item() - max(others))
    said = LOSSES["ce-targeted"](LOGITS, pair).exp().item()
    assert said == pytest.approx(F.softmax(LOGITS, 1)[0, target].item())
    for loss in ("ce-targeted", "margin-targeted"):  # the target alone will do
        assert torch.equal(LOSSES[loss](LOGITS, pair), LOSSES[loss](LOGITS, pair[:, 1]))


def test_targets_of_each_image():
    labels = torch.tensor([0, 3, 2])
    clean = LOGITS.repeat(3, 1)
    targets = [
        loss_target("ce-targeted", labels, clean, None, target)[:, 1].tolist()
        for target in (3, "least-likely", None)
    ]
    assert targets == [[3, 0, 3], [3, 1, 3], [2, 0, 0]]
    with pytest.raises(ValueError, match="target_class is 0 to 3, got 4"):
        loss_target("ce-targeted", labels, clean, None, 4)


AIMED = {
    "pgd ce": PGD(INF, loss="ce-targeted", target_class=2),
    "pgd margin l2": PGD(TWO, loss="margin-targeted", target_class=2),
    "apgd ce l2": APGD(TWO, 20, loss="ce-targeted", target_class=2),
    "apgd margin": APGD(INF, 20, loss="margin-targeted", target_class=2),
    "square": Square(INF, 300, loss="margin-targeted", target_class=2),
}


@pytest.mark.parametrize("attack", AIMED.values(), ids=AIMED)
@pytest.mark.parametrize("side", [0.9, 1.1], ids=["within", "beyond"])
def test_reaches_the_target_class_beyond_its_distance_and_not_within(attack, side):
    """The mean of a channel of 36 pixels moves by eps at most, in L2 by eps / 6."""
    reach = attack.ball.eps / (1 if isinstance(attack.ball, Linf) else 6)
    net = Corners(1.3 * reach, reach / side, 2 * reach)
    adv = attack(net, *at_rest(), generator=seeded_generator())
    assert (net(adv).argmax(1) == (2 if side > 1 else 0)).all()
    assert (attack.ball.distance(adv, at_rest()[0]) <= attack.ball.eps + 1e-6).all()


class Decoy(nn.Module):
    """The loss of every untargeted attack points to class 1, which no image of the ball reaches."""

    def forward(self, x):
        moved = (x - 0.5).mean((2, 3))
        near = -0.1 + moved[:, 0] / 2
        far = -0.2 + 5 * moved[:, 1] - 4 * moved[:, 0].relu()
        return torch.stack([0 * near, near, far], 1)


@pytest.mark.parametrize("kind", [PGD, APGD])
def test_every_target_in_turn_finds_what_the_likeliest_class_hides(kind):
    x, y = at_rest()
    plain = kind(INF, loss="margin", **({"random_start": False} if kind is PGD else {}))
    if kind is PGD:
        assert (Decoy()(plain(Decoy(), x, y)).argmax(1) == 0).all()
    every = aim(plain, "all", None, ("a", "b", "c"))
    assert isinstance(every, Worst) and len(every.attacks) == 2
    assert (Decoy()(every(Decoy(), x, y)).argmax(1) == 2).all()
    towards = aim(plain, "c", None, ("a", "b", "c"))
    assert (Decoy()(towards(Decoy(), x, y)).argmax(1) == 2).all()


def test_any_wrong_class_counts_as_fooled():
    """On the way to class 2 the image crosses class 1, and its attack ends there."""
    net = Corners(0.02, 0.02)
    images, y = at_rest(6)
    split = Split((255 * images).round().byte(), y)
    attack = PGD(Linf(0.1), 30, loss="margin-targeted", target_class=2)
    score = evaluate(net, split, Battery((("a", attack),)), keep_images=True)
    assert score.attacked_accuracies == (0.0,)
    (found,) = count_reached(net, split, score, 2, 0)
    assert score.adversarial is not None
    answers = net(score.adversarial[0]).argmax(1)
    assert found == Reached(6, int((answers == 2).sum()))
    assert count_reached(net, split, score, 0, 0) == (Reached(0, 0),)  # the images' own class


def test_the_engine_and_the_call_agree_on_targets():
    net, x, y = self_labelled_problem(24)
    split = Split((255 * x).round().byte(), y)
    for target in (1, "least-likely"):
        attack = APGD(Linf(0.02), 10, loss="margin-targeted", target_class=target)
        square = Square(Linf(0.05), 30, loss="margin-targeted", target_class=target)
        battery = Battery((("apgd", attack), ("square", square)))
        score = evaluate(net, split, battery, batch=7, keep_images=True)
        assert score.ok[0].all() and 0 < score.attacked_accuracies[0] < 1
        assert score.adversarial is not None
        for i in range(2):
            right = net(score.adversarial[i]).argmax(1) == y
            assert torch.equal(right, score.ok[1 + i])


def test_a_battery_with_more_targets_than_classes_leaves_them_out():
    assert not Square(INF, loss="margin-targeted", target_class=3).supports(3)
    assert Square(INF, loss="margin-targeted", target_class=3).supports(4)
    assert not PGD(INF, loss="ce-targeted", target=3).supports(3)
    with pytest.raises(ValueError, match="target_class is 0 to 2, got 3"):
        PGD(INF, loss="ce-targeted", target_class=3)(Corners(1, 1), *at_rest())


def test_names_of_classes_come_before_their_indices():
    names = ("1", "0", "cat")
    assert [find_class(text, names) for text in ("0", "1", "2", "cat")] == [1, 0, 2, 2]
    assert find_class("least-likely", names) == "least-likely"
    with pytest.raises(ValueError, match="'cats': did you mean 'cat'"):
        find_class("cats", names)


def test_aiming_keeps_every_other_setting():
    attack = PGD(INF, 7, pace=0.3, random_start=False, loss="dlr")
    aimed = aim(attack, "2", None, "abcde")
    assert aimed == replace(attack, loss="dlr-targeted", target_class=2)
    assert aim(attack, None, 3, "abcde") == replace(attack, loss="dlr-targeted", target=3)
