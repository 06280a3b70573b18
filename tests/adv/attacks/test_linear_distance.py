"""The order of targets by linear distance, on linear nets, where it is exact."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from reproducibility import seeded_generator
from torch import nn

from adv import APGD, L2, Linf
from adv.attacks import linear_distance
from adv.attacks.linear_distance import rank_by_distance

SHAPE = (3, 4, 4)


class Linear(nn.Module):
    """Classes apart by linear logits, whose weights differ in length."""

    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        lengths = torch.linspace(0.1, 3, classes)[:, None]
        self.w = lengths * torch.randn(classes, 48, generator=seeded_generator(3))
        self.b = torch.zeros(classes)

    def forward(self, x):
        return x.flatten(1) @ self.w.T + self.b


def problem():
    net, x = Linear(), torch.rand(5, *SHAPE, generator=seeded_generator(4))
    return net, x, net(x).argmax(1)


@pytest.mark.parametrize(("ball", "dual"), [(Linf(0.1), 1), (L2(1.0), 2)])
def test_classes_are_ordered_by_their_distance_in_the_dual_norm(ball, dual):
    net, x, y = problem()
    logits = net(x)
    found = rank_by_distance(net, x, y, ball)
    for i in range(5):
        others = [k for k in range(6) if k != y[i]]
        distance = {
            k: ((logits[i, y[i]] - logits[i, k]) / (net.w[y[i]] - net.w[k]).norm(dual)).item()
            for k in others
        }
        assert found[i].tolist() == sorted(others, key=distance.__getitem__)
    by_logit = logits.scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)[:, :-1]
    assert not torch.equal(found, by_logit)


def test_a_class_without_a_slope_comes_last():
    """The likeliest wrong class moves exactly with the right one: no change reaches it."""
    net, x, y = problem()
    net.w[1], net.b[1] = net.w[0], -0.01
    y = torch.zeros_like(y)
    assert (rank_by_distance(net, x, y, Linf(0.1))[:, -1] == 1).all()


def test_only_the_likeliest_are_measured(monkeypatch):
    net, x, y = problem()
    monkeypatch.setattr(linear_distance, "CANDIDATES", 2)
    by_logit = net(x).scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)[:, :-1]
    found = rank_by_distance(net, x, y, Linf(0.1))
    assert torch.equal(found[:, 2:], by_logit[:, 2:])
    assert torch.equal(found[:, :2].sort(1).values, by_logit[:, :2].sort(1).values)


def test_the_first_target_by_distance_falls_where_that_by_likelihood_stands():
    """Class 1 is likelier but flat; the ball reaches class 2 alone."""

    class Flat(nn.Module):
        def forward(self, x):
            level = x.mean((1, 2, 3)) - 0.5
            return torch.stack([0 * level, level / 100 - 0.05, level - 0.08, 0 * level - 9], 1)

    x, y = torch.full((3, *SHAPE), 0.5), torch.zeros(3, dtype=torch.long)
    with torch.inference_mode():
        plain = APGD(Linf(0.1), 5, loss="margin-targeted")
        for attack, target in ((plain, 1), (replace(plain, order="distance"), 2)):
            begun = attack.prepare(Flat(), attack.start(x, y, seeded_generator()))
            assert begun.loss_target.tolist() == [[0, target]] * 3


@pytest.mark.parametrize(
    "settings",
    [
        {"order": "distances", "loss": "dlr-targeted"},
        {"order": "distance"},
        {"order": "distance", "loss": "ce-targeted", "target_class": 2},
    ],
    ids=str,
)
def test_invalid_orders_are_rejected(settings):
    with pytest.raises(ValueError, match="order is 'likelihood' or, with a targeted loss"):
        APGD(Linf(0.1), **settings)


def test_too_few_classes_and_no_gradient_are_one_line():
    net, x, y = problem()
    with pytest.raises(ValueError, match="a net with 6 classes has 5 wrong ones"):
        APGD(Linf(0.1), loss="margin-targeted", target=6, order="distance")(net, x, y)

    class Rounded(nn.Module):
        def forward(self, x):
            return net(x.detach())

    with pytest.raises(ValueError, match="passes no gradient"):
        APGD(Linf(0.1), loss="margin-targeted", order="distance")(Rounded(), x, y)
