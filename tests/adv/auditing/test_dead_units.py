"""Dead units are seen in any activation, whether it is a module or a function."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from reproducibility import seeded_generator
from small_nets import SHAPE
from torch import Tensor, nn

from adv import PGD, WRN, BaseNet, Battery, Linf, Recipe, Split, ViT, build
from adv.auditing.context import audit_context
from adv.auditing.dead_units import check_dead_units
from adv.runtime.frozen import frozen

BATTERY = Battery((("pgd", PGD(Linf(0.1), 2)),))


class Pushed(nn.Module):
    """A net of which `dead` of 100 hidden units are far below zero."""

    def __init__(self, activation, dead: int) -> None:
        super().__init__()
        self.activation = activation
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(192, 100), nn.Linear(100, 10)
        self.first.weight.data *= 0.3
        self.first.bias.data[:dead], self.first.bias.data[dead:] = -1000.0, 0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.activation(self.first(x.flatten(1))))


def found(net: nn.Module, shape: tuple[int, ...] = SHAPE):
    images = torch.randint(0, 256, (8, *shape), generator=seeded_generator(0), dtype=torch.uint8)
    context = audit_context(net, Split(images, torch.arange(8)), BATTERY, 0.1)
    with frozen(net), torch.no_grad():
        return check_dead_units(context, context.pixels(torch.arange(8))[0])


ACTIVATIONS = {
    "nn.ReLU": nn.ReLU(),
    "in place": nn.ReLU(inplace=True),
    "nn.GELU": nn.GELU(),
    "F.relu": F.relu,
    "torch.relu": torch.relu,
    "Tensor.relu": Tensor.relu,
    "F.silu": F.silu,
    "relu6": F.relu6,
    "clamp": lambda z: z.clamp(min=0),
    "maximum": lambda z: torch.maximum(z, torch.zeros(())),
    "tanh": torch.tanh,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_dead_units_of_any_activation_are_counted(name):
    assert found(Pushed(ACTIVATIONS[name], 100)).figure == 1
    assert not found(Pushed(ACTIVATIONS[name], 99)).passed
    honest = found(Pushed(ACTIVATIONS[name], 86))
    assert honest.passed and honest.figure == pytest.approx(0.86)
    assert found(Pushed(ACTIVATIONS[name], 0)).figure == 0


@pytest.mark.parametrize("net", [WRN(10, 1, se=0.25), ViT(1, 64), BaseNet()], ids=repr)
def test_our_nets_are_alive_at_the_start(net):
    finding = found(build(Recipe(net), 10, seed=0), (3, 32, 32))
    assert finding.figure < 0.5 and "activations" in finding.observation


def test_a_net_without_activations_is_said_to_be_untested():
    finding = found(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)))
    assert finding.passed and "says nothing" in finding.observation
