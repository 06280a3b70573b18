"""The time that a net takes to classify an image."""

import torch
from torch import nn

from search.trials.latency import measure_latency

IMAGE = torch.zeros(3, 8, 8, dtype=torch.uint8)


def small_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))


def test_each_layer_keeps_its_mode():
    net = small_net()
    net[2].eval()  # as in fine-tuning: the statistics of this layer stay as they are
    before = [module.training for module in net.modules()]
    assert measure_latency(net, IMAGE) > 0
    assert (
        [module.training for module in net.modules()] == before == [True, True, True, False, True]
    )


def test_it_is_measured_in_evaluation_mode():
    net, modes = small_net(), set()
    net[3].register_forward_hook(lambda module, *_: modes.add(module.training))
    statistics = net[2].running_mean.clone()
    measure_latency(net, IMAGE)
    assert modes == {False} and torch.equal(net[2].running_mean, statistics)
