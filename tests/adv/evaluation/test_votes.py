"""Evaluation of random nets by votes, and of broken nets."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from evaluation_cases import RADII_BATTERY, battery, random_conv_net, split_labelled_by
from reproducibility import seeded_generator
from small_nets import CountingNet
from torch import nn

from adv import (
    FGSM,
    L2,
    PGD,
    RSE,
    BaseNet,
    Linf,
    Recipe,
    Split,
    build,
    evaluate,
    report_battery,
    restarts,
)
from adv.runtime.random_layers import Noise

# --- random nets ---


class Mean(nn.Module):
    """The mean pixel of each image, less a half, as the logits of two classes."""

    def forward(self, x):
        level = 100 * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([level, -level], 1)


class Tape(nn.Module):
    """Keep the images of every call."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return x


def two_levels(n: int = 40) -> Split:
    """Images a little brighter or darker than a half: logits of about 2 against -2."""
    labels = torch.arange(n) % 2
    images = torch.where(labels == 0, 133, 122).to(torch.uint8)
    return Split(images.reshape(-1, 1, 1, 1).expand(-1, 3, 4, 4).contiguous(), labels)


HARMLESS = Linf(0.001)


def test_no_prediction_of_a_random_net_is_a_single_pass():
    """Noise as strong as the signal: one pass in five is wrong, the worst of six nearly always."""
    net, split = nn.Sequential(Mean(), Noise(3.5)), two_levels()
    naive = torch.ones(len(split), dtype=torch.bool)
    singles = []
    for _ in range(6):
        singles.append(net(split.images.float() / 255).argmax(1) == split.labels)
        naive &= singles[-1]
    assert 0.65 < torch.stack(singles).float().mean() < 0.9
    found = evaluate(net, split, battery(restarts(FGSM(HARMLESS), 5), draws=5, votes=60))
    assert naive.float().mean() < 0.45
    assert found.natural_accuracy > 0.95 and found.worst > 0.85
    assert (found.votes, found.draws) == (60, 5)


def test_passes_are_counted_and_no_draw_is_used_twice():
    """Each prediction uses fresh votes, each gradient fresh draws."""
    tape = Tape()
    counted, split = CountingNet(nn.Identity()), two_levels()
    net = nn.Sequential(Mean(), Noise(1.0), counted, tape)
    found = evaluate(net, split, battery(PGD(HARMLESS, steps=3), draws=4, votes=30), batch=16)
    standing = int(found.ok[0].sum())
    assert found.ok.all() and standing == 40
    gradients = standing * 3 * 4
    assert 40 * 5 + gradients + standing * 5 <= counted.seen < 40 * 30 + gradients + standing * 30
    drawn = torch.cat(tape.seen).flatten()
    assert len(drawn.unique()) > 0.99 * len(drawn)


def test_a_random_net_is_attacked_through_the_mean_of_its_draws():
    """The direction of ascent differs between draws: one draw fails, many succeed."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.noise = Noise(4.0)

        def forward(self, x):
            gate = 1 + self.noise(torch.zeros_like(x))
            # The gate decides the gradient; the value is that of the plain net.
            level = 100 * ((gate * (x - x.detach())).mean((1, 2, 3)) + x.mean((1, 2, 3)) - 0.5)
            return torch.stack([level, -level], 1)

    split, ball = two_levels(), Linf(0.05)
    attack = PGD(ball, steps=2, pace=0.5, random_start=False)
    left = [
        evaluate(Gated(), split, battery(attack, draws=draws, votes=1)).attacked_accuracies[0]
        for draws in (1, 200)
    ]
    assert left[0] > 0.5 and left[1] < 0.1


def rse_net() -> nn.Module:
    return build(Recipe(net=BaseNet(dropout=0.5), defences=(RSE(0.2, 0.1),)), 10, seed=1)


@pytest.fixture(scope="module")
def digits_like() -> Split:
    images = torch.randint(
        0, 256, (16, 3, 32, 32), generator=seeded_generator(2), dtype=torch.uint8
    )
    net = build(Recipe(net=BaseNet()), 10, seed=1).eval()
    return Split(images, net(images.float() / 255).argmax(1))


def test_the_same_net_gets_the_same_table(digits_like):
    net = rse_net()
    ladder = replace(report_battery(2), draws=2, votes=4)
    first = evaluate(net, digits_like, ladder)
    net(torch.rand(2, 3, 32, 32))  # its own stream goes on; the evaluation's does not care
    again = evaluate(copy.deepcopy(net), digits_like, ladder)
    assert torch.equal(first.ok, again.ok)
    other = evaluate(net, digits_like, replace(ladder, seed=1, votes=1))
    assert not torch.equal(first.ok, other.ok)


def test_the_net_is_unchanged(digits_like):
    net = nn.Sequential(rse_net(), nn.BatchNorm1d(10), nn.Linear(10, 10)).train()
    net[1].eval()
    net[2].bias.requires_grad_(False)
    twin, random = copy.deepcopy(net), torch.get_rng_state()
    evaluate(net, digits_like, replace(report_battery(1), draws=2, votes=3))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(weight.grad is None for weight in net.parameters())
    pairs = zip(net.modules(), twin.modules(), strict=True)
    assert all(a.training == b.training for a, b in pairs)
    weights = zip(net.parameters(), twin.parameters(), strict=True)
    assert all(a.requires_grad == b.requires_grad for a, b in weights)
    for name, value in twin.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    x = torch.rand(2, 3, 32, 32, generator=seeded_generator())
    assert torch.equal(net(x), twin(x))  # and its stream draws on from where it was


def test_batch_statistics_are_the_running_ones():
    """In training mode a prediction would depend on the batch."""
    net = random_conv_net()
    split = split_labelled_by(net)
    tables = [
        evaluate(net.train(mode), split, RADII_BATTERY, batch=size).ok
        for mode, size in ((True, 60), (True, 3), (False, 60))
    ]
    assert torch.equal(tables[0], tables[1]) and torch.equal(tables[0], tables[2])
    assert tables[0][0].sum() == 50


# --- nets that are broken ---


class Broken(nn.Module):
    def __init__(self, net: nn.Module, how: str) -> None:
        super().__init__()
        self.net, self.how = net, how

    def forward(self, x):
        if self.how == "quantised":
            x = (x * 15).round() / 15
        logits = self.net(x)
        return {
            "quantised": logits,
            "saturated": 1e4 * logits,
            "overflowing": 1e38 * logits * 1e5,
            "not numbers": logits * float("nan"),
            "constant": 0 * logits,
        }[self.how]


@pytest.mark.parametrize(
    "how", ["quantised", "saturated", "overflowing", "not numbers", "constant"]
)
def test_broken_nets_get_a_score(how):
    net = random_conv_net()
    split = split_labelled_by(net)
    found = evaluate(Broken(net, how), split, battery(FGSM(Linf(0.02)), PGD(L2(0.2), steps=3)))
    assert found.ok.shape == (3, 60)
    assert 0 <= found.attacked_score <= 200 * found.natural_accuracy
    if how == "quantised":  # no gradient: nothing but rounding's luck moves it
        assert found.attacked_accuracies[0] == found.natural_accuracy > 0.5


def test_noise_alone_does_not_raise_the_score():
    """A net of pure noise is correct at the rate of chance, with or without an attack."""
    net = nn.Sequential(Mean(), Noise(1e4))
    found = evaluate(net, two_levels(200), battery(FGSM(HARMLESS), draws=5, votes=9))
    assert found.natural_accuracy == pytest.approx(0.5, abs=0.12)
    assert found.attacked_accuracies[0] < found.natural_accuracy
