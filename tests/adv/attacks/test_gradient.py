"""Attacks inside a caller's inference mode, and nets whose outputs do not depend on the images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adv import APGD, PGD, Linf


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 4))


@pytest.mark.parametrize("attack", [PGD(Linf(0.1), 3), APGD(Linf(0.1), 3)], ids=repr)
def test_inference_mode_of_the_caller_changes_nothing(net, attack):
    x, y = torch.rand(5, 3, 2, 2), torch.arange(5) % 4
    expected = attack(net, x, y)
    with torch.inference_mode():
        inside = attack(net, x.clone(), y.clone())
    assert torch.equal(inside, expected)


class WeightsOnly(nn.Linear):
    def forward(self, x):
        return super().forward(torch.ones(len(x), 12))


class Fails(nn.Linear):
    def forward(self, x):
        raise RuntimeError("its own fault")


def test_the_reason_is_named():
    x, y = torch.rand(5, 3, 2, 2), torch.arange(5) % 4
    with pytest.raises(ValueError, match="use Square or NES, attacks that need none"):
        PGD(Linf(0.1), 1)(WeightsOnly(12, 4), x, y)
    with pytest.raises(RuntimeError, match="its own fault"):
        PGD(Linf(0.1), 1)(Fails(12, 4), x, y)
