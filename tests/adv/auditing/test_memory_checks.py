"""A net that remembers what it was asked is seen, on copies that were never asked."""

from __future__ import annotations

import pytest
import torch
from broken_nets import REMEMBERING, Remembering
from reproducibility import seeded_generator
from small_nets import SHAPE
from torch import Tensor, nn

from adv import PGD, PNI, RSE, Battery, Linf, MCDropout, Split, TestNoise, audit, evaluate
from adv.auditing.context import audit_context
from adv.auditing.memory_checks import check_memory

BATTERY = Battery((("pgd", PGD(Linf(0.1), 2)),))


def small_net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            *(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(288, 10))
        ).eval()


def random_split(n: int = 12) -> Split:
    images = torch.randint(0, 256, (n, *SHAPE), generator=seeded_generator(0), dtype=torch.uint8)
    return Split(images, torch.arange(n) % 10)


def found(net: nn.Module):
    return check_memory(audit_context(net, random_split(), BATTERY, 0.1))


@pytest.mark.parametrize("kind", REMEMBERING)
@pytest.mark.parametrize("asked", [False, True], ids=["fresh", "asked before"])
def test_memory_is_seen(kind, asked):
    net = REMEMBERING[kind](small_net())
    if asked:
        evaluate(net, random_split(), BATTERY)
    assert not found(net).passed


@pytest.mark.parametrize("defence", [None, RSE(), PNI(), MCDropout(0.3), TestNoise(0.1)], ids=repr)
def test_sound_nets_have_no_memory(defence):
    net = small_net() if defence is None else defence(small_net())
    assert found(net).figure == 0


def test_the_check_asks_copies_only():
    net = Remembering(small_net(), 0.2)
    found(net)
    assert not len(net.images)


def test_an_audit_holds_the_check():
    names = [finding.name for finding in audit(small_net(), random_split(4), BATTERY)]
    assert "same outputs whatever was asked" in names


def test_a_net_without_copies_is_said_to_be_untested():
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small_net()

        def __deepcopy__(self, memo: object) -> Single:
            raise TypeError("no copies")

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    finding = found(Single())
    assert finding.passed and "cannot be copied (TypeError)" in finding.observation
