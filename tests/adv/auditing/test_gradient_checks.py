"""Finite differences see wrong gradients of any kind, and none in sound nets."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from broken_nets import USELESS_GRADIENT, WRONG_GRADIENT, Around, OwnNoise
from reproducibility import seeded_generator
from small_nets import SHAPE, LowPrecisionNet
from torch import Tensor, nn

from adv import (
    L2,
    PGD,
    PNI,
    RSE,
    WRN,
    Battery,
    BigNet,
    Linf,
    MCDropout,
    Projection,
    Recipe,
    SpectralNorm,
    Split,
    TestNoise,
    ViT,
    build,
    masking_gap,
)
from adv.auditing.context import audit_context
from adv.auditing.gradient_checks import GradientTest, check_gradient, differentiate
from adv.auditing.gradient_masking import Gap

EPS = 0.1


def small_net() -> nn.Sequential:
    """A net with ReLU and max-pooling whose gradient depends on all pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(128, 10)),
        ).eval()


def random_split(n: int = 24, shape: tuple[int, ...] = SHAPE) -> Split:
    images = torch.randint(0, 256, (n, *shape), generator=seeded_generator(0), dtype=torch.uint8)
    return Split(images, torch.arange(n) % 10)


def context_of(net: nn.Module, split: Split | None = None):
    battery = Battery((("pgd", PGD(Linf(EPS), 10)),))
    return audit_context(net, split or random_split(), battery, EPS)


def failed_checks(net: nn.Module, split: Split | None = None) -> list[str]:
    return [f.name for f in check_gradient(context_of(net, split)) if not f.passed]


@pytest.mark.parametrize("kind", WRONG_GRADIENT)
@pytest.mark.parametrize("defence", [None, RSE(), PNI(0.1)], ids=repr)
def test_a_wrong_gradient_is_seen(kind, defence):
    net = small_net() if defence is None else defence(small_net())
    assert "gradient against differences" in failed_checks(WRONG_GRADIENT[kind](net))


@pytest.mark.parametrize("kind", USELESS_GRADIENT)
def test_a_gradient_that_holds_for_no_step_is_seen(kind):
    assert failed_checks(USELESS_GRADIENT[kind](small_net())) == ["gradient holds for a step"]


def test_noise_that_depends_on_the_image_leaves_no_slope():
    assert "outputs have slopes" in failed_checks(OwnNoise(small_net()))


class Constants(nn.Module):
    """A net with weights in float32 that are no part of its state."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.weight = net, torch.eye(3).reshape(3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(F.conv2d(x - torch.full((3, 1, 1), 0.5), self.weight)).float()


class Locked(nn.Module):
    """A net that can neither be copied nor run in float64."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def __deepcopy__(self, memo: object) -> Locked:
        raise TypeError("no copies")

    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.float32
        return self.net(x)


SOUND = {
    "relu, max-pooling": small_net,
    "batch normalisation": lambda: nn.Sequential(nn.BatchNorm2d(3), *small_net()).eval(),
    "gelu": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Flatten(), nn.LazyLinear(10)),
    "rse": lambda: RSE()(small_net()),
    "pni": lambda: PNI()(small_net()),
    "dropout kept on": lambda: MCDropout(0.3)(small_net()),
    "test noise": lambda: TestNoise(0.1)(small_net()),
    "logits times 1000": lambda: Around(small_net(), behind=lambda z: 1000 * z),
    "float32 constants": lambda: Constants(small_net()),
    "locked": lambda: Locked(small_net()),
    "bfloat16": lambda: LowPrecisionNet(small_net(), "weights"),
    "autocast": lambda: LowPrecisionNet(small_net(), "autocast"),
}


@pytest.mark.parametrize("kind", SOUND)
def test_sound_nets_have_no_wrong_gradient(kind):
    net = SOUND[kind]()
    net(torch.zeros(1, *SHAPE))  # lazy layers take their shape
    test = differentiate(context_of(net), 24)
    assert test.wrong.sum() == 0 and (test.kept < 0.5).double().mean() < 0.5
    assert failed_checks(net) == []
    assert kind == "locked" or test.tested.sum() >= 20


@pytest.mark.parametrize(
    "net", [WRN(10, 1, dropout=0.1, se=0.25), ViT(1, 64), BigNet()], ids=lambda n: type(n).__name__
)
@pytest.mark.parametrize("defence", [SpectralNorm(), Projection(16)], ids=repr)
def test_our_nets_and_defences_have_no_wrong_gradient(net, defence):
    whole = random_split(4, (3, 32, 32))
    test = differentiate(context_of(build(Recipe(net, (defence,)), 10, seed=0), whole), 4)
    assert test.wrong.sum() == 0 and test.tested.sum() >= 3


def test_a_masked_gradient_is_seen_without_a_copy_too():
    wrong = WRONG_GRADIENT["half of the columns masked"]
    assert failed_checks(wrong(Locked(small_net()))) == ["gradient against differences"]


def test_the_masking_gap_of_a_trial_holds_the_cheap_form():
    broken = WRONG_GRADIENT["half of the columns masked"](small_net())
    battery = Battery((("pgd", PGD(L2(0.1), 2)),))
    assert masking_gap(small_net(), random_split(), battery).wrong_gradients == 0
    gap = masking_gap(broken, random_split(), battery)
    assert gap.wrong_gradients == 1 and gap.flagged


def test_one_wrong_gradient_of_sixteen_is_no_flag():
    few = Gap(EPS, 0.5, 0.5, (0.0, 0.0), 16, wrong_gradients=1 / 16)
    two = Gap(EPS, 0.5, 0.5, (0.0, 0.0), 16, wrong_gradients=2 / 16)
    assert not few.flagged and two.flagged


def test_a_net_is_left_as_it_was():
    net = RSE()(copy.deepcopy(small_net())).train()
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    differentiate(context_of(net), 4)
    assert net.training and torch.equal(torch.get_rng_state(), state)
    assert all(w.dtype == torch.float32 and w.requires_grad for w in net.parameters())
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in before.items())


def test_where_nothing_was_tested_no_share_is_wrong():
    none = torch.zeros(3, dtype=torch.bool)
    assert GradientTest(none, none, torch.ones(3)).wrong_share == 0
