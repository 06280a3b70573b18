"""The device of a net, and the move to the best one."""

from __future__ import annotations

import torch
from torch import nn

from adv.runtime.devices import default_device, device_of, on_device


def test_a_net_lies_where_its_weights_lie():
    assert device_of(nn.Linear(2, 2)) == torch.device("cpu")
    assert device_of(nn.Linear(2, 2, device="meta")) == torch.device("meta")


def test_a_net_without_weights_runs_on_the_processor():
    assert device_of(nn.Flatten()) == torch.device("cpu")


def test_a_net_is_moved_as_it_is_to_the_best_device():
    net = nn.Conv2d(3, 4, 3)
    assert on_device(net) is net
    assert device_of(net).type == default_device().type
    assert net.weight.is_contiguous(memory_format=torch.channels_last)
