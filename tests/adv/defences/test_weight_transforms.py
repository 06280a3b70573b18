"""A transformed layer stands in for the plain one: everywhere, with its hooks and weights."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from adv import PNI
from adv.defences.defence import replace_module
from adv.defences.weight_transforms import TransformedLinear, add_transform


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def test_the_plain_layer_is_left_as_it_is():
    layer = nn.Linear(3, 2)
    x = torch.ones(1, 3)
    before, names = layer(x), list(layer.state_dict())
    transformed = add_transform(layer, Doubled())
    assert type(layer) is nn.Linear
    assert torch.equal(layer(x), before)
    assert list(layer.state_dict()) == names and not list(layer.children())
    assert transformed.weight is layer.weight and transformed.bias is layer.bias
    assert torch.allclose(transformed(x) - layer.bias, 2 * (before - layer.bias))
    assert add_transform(transformed, Doubled()) is transformed


def test_hooks_and_mode_come_along():
    layer, calls = nn.Linear(3, 2).eval(), []
    handle = layer.register_forward_hook(lambda *_: calls.append(1))
    transformed = add_transform(layer, Doubled())
    transformed(torch.ones(1, 3))
    assert calls == [1] and not transformed.training
    handle.remove()
    transformed(torch.ones(1, 3))
    assert calls == [1]


def test_a_shared_layer_is_replaced_wherever_it_stands():
    shared = nn.Linear(4, 4)
    net: Any = nn.Sequential(shared, nn.ReLU(), nn.Sequential(shared, nn.ReLU()), shared)
    keys = list(net.state_dict())
    net = PNI(alpha=0.5)(net)
    assert isinstance(net[0], TransformedLinear)
    assert net[0] is net[2][0] is net[3]
    assert [key for key in net.state_dict() if "transforms" not in key] == keys


def test_a_net_of_a_single_layer_becomes_another_layer():
    layer = nn.Linear(3, 2)
    assert replace_module(layer, layer, add_transform(layer, Doubled())) is not layer
    assert isinstance(PNI()(layer), TransformedLinear)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_has_weights_of_its_own(copied):
    layer = add_transform(nn.Linear(3, 2), Doubled())
    twin = copied(nn.Sequential(layer))
    with torch.no_grad():
        layer.weight.zero_()
    assert twin[0].weight.abs().sum() > 0
