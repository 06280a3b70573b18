"""PGD with momentum: the published recursion, and less noise in the steps of a random net."""

from __future__ import annotations

import pytest
import torch
from reproducibility import seeded_generator
from small_nets import self_labelled_problem
from torch import nn

from adv import L2, PGD, Linf, Votes, frozen
from adv.attacks.gradient import loss_and_grad
from adv.runtime.random_layers import Noise
from adv.runtime.random_streams import use_seed


@pytest.mark.parametrize("ball", [Linf(0.05), L2(0.5)], ids=repr)
@pytest.mark.parametrize("momentum", [0.0, 0.75, 1.0])
def test_the_recursion_of_mi_fgsm(ball, momentum):
    """g' = m g + gradient / |gradient|_1, then a step along g' (equations 6 and 7)."""
    net, x, y = self_labelled_problem(6)
    attack = PGD(ball, steps=4, random_start=False, momentum=momentum)
    adv, direction = x, torch.zeros_like(x)
    with frozen(net):
        for _ in range(4):
            gradient = loss_and_grad(net, adv, y).gradient
            direction = momentum * direction + gradient / gradient.abs().sum((1, 2, 3), True)
            adv = ball.project(ball.ascend(adv, direction, attack.length), x)
    assert torch.allclose(attack(net, x, y), adv, atol=1e-6)


def test_a_gradient_of_nan_counts_as_0_and_is_forgotten():
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.calls = net, 0

        def forward(self, x):
            self.calls += 1
            return self.net(x) * (float("nan") if self.calls == 2 else 1.0)

    net, x, y = self_labelled_problem(3)
    adv = PGD(Linf(0.05), steps=5, momentum=0.75)(Sometimes(), x, y)
    assert adv.isfinite().all() and (adv != x).flatten(1).any(1).all()


@pytest.mark.parametrize("momentum", [-0.1, 1.1, float("nan")])
def test_momentum_lies_between_0_and_1(momentum):
    with pytest.raises(ValueError, match="momentum"):
        PGD(Linf(0.05), momentum=momentum)


def test_it_averages_the_noise_of_a_random_net():
    """A linear net behind noise that is multiplied in: the worst point is a corner of the ball.

    A gradient of one draw has the wrong sign at many pixels. At the same number of draws, the
    steps with momentum end nearer to that corner.
    """
    weight = torch.randn(1, 3 * 8 * 8, generator=seeded_generator(1))

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.noise = Noise(3.0)

        def forward(self, x):
            logit = (x.flatten(1) * self.noise(weight.expand(len(x), -1))).sum(1, keepdim=True)
            return torch.cat([logit, -logit], 1)

    net, x = Scaled(), torch.full((64, 3, 8, 8), 0.5)
    y = torch.zeros(64).long()
    corner = -weight.sign().reshape(1, 3, 8, 8)
    reached = []
    for momentum in (0.0, 0.75):
        attack = PGD(Linf(0.05), 20, pace=2.0, loss="margin", schedule="cosine", momentum=momentum)
        with use_seed(net, 5):
            adv = attack(Votes(net, 2), x, y, generator=seeded_generator(2))
        reached.append(float(((adv - x) * corner).mean()) / 0.05)
    assert reached[0] + 0.1 < reached[1] < 1, reached
