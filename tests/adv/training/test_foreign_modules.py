"""Foreign modules in training: their names are left alone, and they may change their images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from reproducibility import seeded_generator
from torch import Tensor, nn

from adv import (
    AWP,
    MART,
    TRADES,
    Curriculum,
    Madry,
    Mixed,
    Net,
    Paired,
    Recipe,
    Split,
    build,
    is_random,
    train,
)
from adv.runtime.random_streams import RngStream, attach, use_seed
from adv.shape import DEFAULT_SHAPE, Shape

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
    def __call__(self, classes: int, shape: Shape = DEFAULT_SHAPE) -> nn.Module:
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


class Plain(nn.Module):
    """Normalises its images, and has statistics for an average to compute."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.linear = nn.Linear(3, 10)

    def shift(self, x: Tensor) -> Tensor:
        return (x - 0.5) / 0.25

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(self.shift(x).mean((2, 3))))


class Shifting(Plain):
    """Normalises its argument in place, as torchvision's normalize(inplace=True)."""

    def shift(self, x: Tensor) -> Tensor:
        return x.sub_(0.5).div_(0.25)


@dataclass(frozen=True)
class Normalising(Net):
    module: type[Plain]

    def __call__(self, classes: int, shape: Shape = DEFAULT_SHAPE) -> nn.Module:
        return self.module()


OBJECTIVES = (Mixed(), Madry(), Paired(), TRADES(), MART(), AWP(TRADES(), gamma=0.01))


@pytest.mark.filterwarnings("ignore:.*in place")
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("replay", [False, True])
def test_a_net_that_changes_its_images_is_trained_as_its_plain_twin(objective, replay):
    images = torch.randint(256, (48, 3, 32, 32), generator=seeded_generator(), dtype=torch.uint8)
    split = Split(images, torch.arange(48) % 10)
    trained = []
    for module in (Plain, Shifting):
        curriculum = Curriculum(steps=2, eps=0.1)
        net = Normalising(module)
        recipe = Recipe(net=net, objective=objective, curriculum=curriculum, batch=16, ema=0.5)
        *_, last = train(replace(recipe, epochs=2), split, classes=10, seed=0, replay=replay)
        trained.append(last)
    plain, shifting = trained
    assert dict(plain.metrics) == dict(shifting.metrics)
    for one, other in zip(
        plain.net.state_dict().values(), shifting.net.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)
