"""What an accuracy is worth: nets that guess fail, whatever their score."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from reproducibility import seeded_generator
from small_nets import SHAPE
from torch import Tensor, nn

from adv import PGD, Battery, Linf, Split, audit, verdict
from adv.auditing.accuracy_checks import check_accuracy
from adv.auditing.context import audit_context

BATTERY = Battery((("pgd", PGD(Linf(0.01), 2)),))


class Reading(nn.Module):
    """Reads the class from the first pixel."""

    def forward(self, x: Tensor) -> Tensor:
        levels = torch.arange(10, device=x.device) / 10
        return -100 * (x[:, 0, 0, :1] - levels).square()


class Majority(nn.Module):
    """Always says class 3."""

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x.flatten(1)[:, :10] + torch.eye(10)[3]


def split(often: float = 0.1, n: int = 100) -> Split:
    """Images whose first pixel shows their class; class 3 is at least so frequent."""
    labels = torch.arange(n) % 10
    labels[: int(often * n)] = 3
    images = torch.randint(0, 256, (n, *SHAPE), generator=seeded_generator(1), dtype=torch.uint8)
    images[:, 0, 0, 0] = (25.5 * labels).round().to(torch.uint8)
    return Split(images, labels)


class Partly(nn.Module):
    """Reads the classes 0 and 1; everything else is 0 to it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(Reading()(x)[:, :2], (0, 8), value=-1000.0)


def untrained() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, 10))


def found(net: nn.Module, images: Split):
    return check_accuracy(audit_context(net, images, BATTERY, 0.01))


@pytest.mark.parametrize("net", [Majority(), untrained()], ids=["majority", "untrained"])
@pytest.mark.parametrize("often", [0.1, 0.8])
def test_a_net_that_guesses_fails(net, often):
    finding = found(net, split(often))
    assert not finding.passed and "guessing" in finding.name


def test_a_net_that_reads_passes_and_hears_what_guessing_gives():
    finding = found(Reading(), split(0.3))
    assert finding.passed
    assert "Without an attack 100.0 % (95 % interval 96.3 to 100.0)" in finding.observation
    assert "random is right for 10.0 %, the most frequent class for 37.0 %," in finding.observation


def test_the_luck_of_an_untrained_net_is_no_learning():
    """Outputs that go with one class double the accuracy of chance: 20 % of 10 classes."""
    assert not found(Partly(), split(0.0, 200)).passed
    assert found(Partly(), split(0.0, 3000)).passed


def test_too_few_images_are_no_proof():
    assert not found(Reading(), split(0.0, 2)).passed


def test_nobody_says_that_nothing_speaks_against_a_net_at_chance():
    findings = audit(untrained(), split(n=20), BATTERY)
    assert "better than guessing" in verdict(findings)
    assert verdict(findings).startswith("Do not trust this score")
