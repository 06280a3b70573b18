"""A foreign module that has a method `fit` or an attribute `stream` is left alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from reproducibility import seeded_generator
from torch import Tensor, nn

from adv import Curriculum, Net, Recipe, Split, build, is_random, train
from adv.runtime.random_streams import RngStream, attach, use_seed

STREAM = object()


class Stranger(nn.Module):
    """Linear, with names that our own layers use for something else."""

    stochastic = 0.1  # the rate of some stochastic depth, say

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 10)
        self.stream = STREAM
        self.fits = 0

    def fit(self, *_: object) -> None:
        self.fits += 1

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.mean((2, 3)))


@dataclass(frozen=True)
class Strange(Net):
    def __call__(self, classes: int) -> nn.Module:
        return nn.Sequential(Stranger())


def test_a_training_leaves_a_foreign_module_alone():
    recipe = Recipe(net=Strange(), epochs=1, curriculum=Curriculum(steps=1))
    images = torch.randint(256, (16, 3, 32, 32), generator=seeded_generator(), dtype=torch.uint8)
    (epoch,) = train(recipe, Split(images, torch.arange(16) % 10), classes=10, seed=0)
    assert isinstance(epoch.net, nn.Sequential)
    stranger = epoch.net[0]
    assert stranger.fits == 0
    assert stranger.stream is STREAM


def test_a_stream_is_lent_to_our_own_modules_only():
    net: Any = build(Recipe(net=Strange()), 10, seed=0)
    attach(net, RngStream(3))
    assert net[0].stream is STREAM
    with use_seed(net, 3):
        assert net[0].stream is STREAM
    assert net[0].stream is STREAM


def test_an_attribute_of_that_name_makes_no_net_random():
    assert not is_random(Stranger())
