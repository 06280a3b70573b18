"""Attacks compared with each other, and invalid settings and balls."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from attack_cases import (
    L2_BALL,
    LINF,
    SHAPE,
    LinearModel,
    StatefulNet,
    each_evaluation_attack,
    random_batch,
)
from reproducibility import seeded_generator
from small_nets import CountingNet, self_labelled_problem
from torch import nn

from adv import FGSM, L2, PGD, Linf, Votes, Worst, frozen, restarts
from adv.runtime.random_layers import Noise

# --- how attacks compare ---


@pytest.mark.parametrize("ball", [LINF, L2_BALL], ids=repr)
def test_pgd_finds_what_fgsm_steps_over(ball):
    """A valley inside the ball: mistakes are at its bottom, a step of eps lands beyond."""
    reach = ball.eps / (1 if isinstance(ball, Linf) else math.sqrt(math.prod(SHAPE)))

    class Valley(nn.Module):
        def forward(self, x):
            depth = 10 * ((x - 0.5 - 0.4 * reach).abs().mean((1, 2, 3)) - 0.3 * reach)
            return torch.stack([depth, -depth], 1)

    x, y = torch.full((4, *SHAPE), 0.5), torch.zeros(4, dtype=torch.long)
    for attack, fools in ((FGSM(ball), False), (PGD(ball, steps=20), True)):
        fooled = Valley()(attack(Valley(), x, y, generator=seeded_generator())).argmax(1) != y
        assert (fooled == fools).all()


@pytest.mark.parametrize("ball", [Linf(0.02), L2(0.2)], ids=repr)
def test_pgd_is_not_weaker_than_fgsm_on_a_net(ball):
    net, x, y = self_labelled_problem()
    gains = [
        F.cross_entropy(net(attack(net, x, y, generator=seeded_generator())), y).item()
        for attack in (FGSM(ball), PGD(ball, steps=40, pace=0.1))
    ]
    assert gains[0] < gains[1] + 1e-3


def test_worst_fools_whatever_a_member_fools():
    net, x, y = self_labelled_problem()
    ball = Linf(0.02)
    attacks = (FGSM(ball), PGD(ball, steps=3, random_start=False), PGD(ball, steps=20, pace=0.1))
    parts = tuple(replace(attack, random_start=False) for attack in attacks)
    fooled = [net(part(net, x, y)).argmax(1) != y for part in parts]
    together = net(Worst(parts)(net, x, y)).argmax(1) != y
    assert torch.equal(together, fooled[0] | fooled[1] | fooled[2])
    assert 0 < together.sum() < 64


def test_worst_does_not_attack_fooled_images():
    net, x, y = self_labelled_problem()
    ball = Linf(0.02)
    first, second = FGSM(ball), PGD(ball, steps=7, random_start=False)
    fallen = int((net(first(net, x, y)).argmax(1) != y).sum())
    assert 0 < fallen < 64
    counting = CountingNet(net)
    Worst((first, second))(counting, x, y)
    assert counting.seen == 64 * (1 + 1) + (64 - fallen) * (7 + 1)


def test_votes_make_an_attack_ascend_the_expected_loss():
    """With noise on the logits, one draw is mostly noise; the mean of many is not."""

    class Noisy(LinearModel):
        def __init__(self) -> None:
            super().__init__()
            self.noise = Noise(1.0)

        def forward(self, x):
            return torch.stack([(self.w * self.noise(self.w * x)).sum((1, 2, 3)) for _ in "ab"], 1)

    counting = CountingNet(Noisy())
    FGSM(LINF)(Votes(counting, 5), *random_batch(), generator=seeded_generator())
    assert counting.seen == 5 * 8

    class Gated(nn.Module):
        """Draw anew in each pass which pixels count."""

        def __init__(self) -> None:
            super().__init__()
            self.drop = Noise(3.0)

        def forward(self, x):
            half = (model.w * (1 + self.drop(torch.zeros_like(x))) * x).sum((1, 2, 3)) / 50
            return torch.stack([half, -half], 1)

    model, (x, y) = LinearModel(), random_batch()
    falls = [
        (model.margin(x, y) - model.margin(FGSM(LINF)(Votes(Gated(), n), x, y), y)).mean().item()
        for n in (1, 100)
    ]
    most = LINF.eps * model.w.abs().sum().item()
    assert falls[0] < 0.6 * most < 0.85 * most < falls[1]


# --- settings ---


@pytest.mark.parametrize("eps", [-0.1, math.nan, math.inf])
@pytest.mark.parametrize("ball", [Linf, L2])
def test_invalid_radii_are_rejected(ball, eps):
    with pytest.raises(ValueError, match="eps is a radius of 0 or more"):
        ball(eps)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, "steps must be 1 or more, got 0"),
        *(({"step_size": size}, "finite length above 0") for size in (0, -1, math.nan, math.inf)),
        ({"pace": 0}, "finite length above 0"),
        ({"schedule": "cosin"}, "a schedule is 'constant' or 'cosine', got 'cosin'"),
    ],
)
def test_invalid_settings_are_rejected(settings, said):
    with pytest.raises(ValueError, match=said):
        PGD(LINF, **settings)


def test_invalid_cascades_are_rejected():
    with pytest.raises(ValueError, match="at least one"):
        Worst(())
    with pytest.raises(ValueError, match="one ball"):
        Worst((FGSM(LINF), FGSM(L2_BALL)))
    with pytest.raises(ValueError, match="restarts must be 1 or more, got 0"):
        restarts(FGSM(LINF), 0)


def test_a_relative_and_an_absolute_step_agree():
    model, (x, y) = self_labelled_problem()[0], random_batch(classes=5)
    relative, absolute = PGD(LINF, pace=0.2, steps=3), PGD(LINF, step_size=0.2 * LINF.eps, steps=3)
    assert relative.length == absolute.length
    made = [attack(model, x, y, generator=seeded_generator()) for attack in (relative, absolute)]
    assert torch.equal(*made)


# --- balls ---


@pytest.mark.parametrize("ball", [LINF, L2_BALL], ids=repr)
def test_samples_fill_the_ball(ball):
    clean = torch.full((2000, 1, 1, 2), 0.5)
    drawn = ball.sample(clean, seeded_generator())
    distance = ball.distance(drawn, clean)
    assert (distance <= ball.eps + 1e-6).all()
    # Uniform in two dimensions: a quarter lies within half the radius.
    assert (distance < ball.eps / 2).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.allclose((drawn - clean).mean((0, 1, 2)), torch.zeros(2), atol=0.03)


@pytest.mark.parametrize("ball", [LINF, L2_BALL], ids=repr)
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e30])
def test_a_step_is_as_long_however_small_the_gradient(ball, scale):
    """Saturated nets have tiny gradients, whose direction still counts."""
    clean, gradient = (
        torch.full((4, *SHAPE), 0.5),
        torch.randn(4, *SHAPE, generator=seeded_generator()),
    )
    moved = ball.ascend(clean, scale * gradient, 0.01)
    assert torch.allclose(ball.distance(moved, clean), torch.full((4,), 0.01), rtol=1e-4)
    assert torch.equal(ball.ascend(clean, 0 * gradient, 0.01), clean)


@each_evaluation_attack
def test_nan_gradients_still_give_images(attack):
    class Root(LinearModel):
        """The gradient of a square root at 0 is infinite, and times 0 it is NaN."""

        def forward(self, x):
            return super().forward(x) + (0 * x[:, :1, :1, :1].sqrt().flatten(1))

    x, y = random_batch()
    x[:, :, 0, 0] = 0
    adv = attack(Root(), x, y, generator=seeded_generator())
    assert torch.isfinite(adv).all() and adv.min() >= 0 and adv.max() <= 1
    assert (attack.ball.distance(adv, x) <= attack.ball.eps + 1e-6).all()


def test_nested_frozen_is_restored_layer_by_layer():
    model = StatefulNet().train()
    model.norm.eval()
    with frozen(model):
        with frozen(model):
            pass
        assert not any(module.training for module in model.modules())
        assert not any(weight.requires_grad for weight in model.parameters())
    assert model.training and not model.norm.training and not model.last.bias.requires_grad
