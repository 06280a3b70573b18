"""Nothing meets what lies on another device, and a net there is judged and trained as one here."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from reproducibility import seeded_generator
from simulated_device import DEVICE, SimulatedDevice
from small_nets import BatchNormNet

import adv
from adv import (
    APGD,
    AWP,
    L2,
    MART,
    NES,
    PGD,
    PNI,
    RSE,
    TRADES,
    Augment,
    BaseNet,
    Battery,
    Curriculum,
    Linf,
    Madry,
    Recipe,
    SpectralNorm,
    Split,
    Square,
    evaluate,
    train,
)
from adv.attacks import square_proposals

EPS = (0.01, 0.015, 0.02, 0.03)
ATTACKS = {
    "pgd": lambda eps: PGD(Linf(eps), steps=4),
    "pgd, lengths of their own": lambda eps: PGD(Linf(eps), steps=3, step_size=eps / 2),
    "pgd l2, restarts": lambda eps: adv.restarts(PGD(L2(20 * eps), steps=2, loss="margin"), 2),
    "apgd": lambda eps: APGD(Linf(eps), steps=5),
    "apgd l2, targeted": lambda eps: APGD(L2(20 * eps), steps=5, loss="dlr-targeted", target=2),
    "square": lambda eps: Square(Linf(eps), queries=6),
    "square l2": lambda eps: Square(L2(20 * eps), queries=6),
    "nes": lambda eps: NES(Linf(eps), queries=40, samples=10),
}
SHORT: dict[str, Any] = {
    "curriculum": Curriculum(eps=0.1, steps=2, pace=0.5),
    "epochs": 2,
    "batch": 16,
}
RECIPES = {
    "the report's": Recipe(net=BaseNet(), **SHORT),
    "norms, an average, AWP": Recipe(
        net=BatchNormNet(), objective=AWP(TRADES(), 0.02), ema=0.9, **SHORT
    ),
    "PNI, MART": Recipe(net=BaseNet(), defences=(PNI(),), objective=MART(), **SHORT),
    "spectral norms, one step": Recipe(
        net=BaseNet(),
        defences=(SpectralNorm(),),
        **{**SHORT, "curriculum": Curriculum(0.1, kind="n-fgsm")},
    ),
    "varied images": Recipe(
        net=BaseNet(), objective=Madry(), augment=Augment(crop=2, jitter=0.3, cutmix=0.5), **SHORT
    ),
}


@pytest.fixture(autouse=True)
def forgotten():
    """Constants that are kept for each device: other tests have a "meta" of their own."""

    def forget() -> None:
        square_proposals.constant_on.cache_clear()
        square_proposals._bumps.cache_clear()

    forget()
    yield
    forget()


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return BaseNet()(10).eval()


@pytest.fixture(scope="module")
def split(net):
    """Images that the net gets right, so that they fall one after another."""
    images = adv.load("digits").test.images[:24]
    with torch.no_grad():
        return Split(images, net(images.float() / 255).argmax(1))


def battery(attack, **settings):
    return Battery(tuple((f"{eps:g}", ATTACKS[attack](eps)) for eps in EPS), **settings)


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_verdicts_are_those_of_the_processor(attack, net, split):
    here = evaluate(net, split, battery(attack), batch=8)
    with SimulatedDevice():
        there = evaluate(copy.deepcopy(net).to(DEVICE), split, battery(attack), batch=8)
    assert torch.equal(here.ok, there.ok)
    if attack.startswith("pgd"):  # the others are held back more than these few steps can move
        assert 0 < here.ok[-1].sum() < here.ok[1].sum()


@pytest.mark.slow
def test_a_random_net_too(split):
    net = adv.build(Recipe(net=BaseNet(), defences=(RSE(0.05, 0.05),)), 10, 0).eval()
    two = battery("pgd", draws=2, votes=3)
    with SimulatedDevice():
        score = evaluate(copy.deepcopy(net).to(DEVICE), split, two, batch=8)
    assert score.ok.shape == (1 + len(EPS), len(split))


@pytest.mark.slow
@pytest.mark.parametrize("replay", [False, True])
@pytest.mark.parametrize("name", RECIPES)
def test_a_training_gives_the_net_that_the_processor_trains(name, replay):
    data = adv.load("digits").train.head(24)
    *_, here = train(RECIPES[name], data, classes=10, seed=3)
    with SimulatedDevice():
        *_, there = train(RECIPES[name], data, classes=10, seed=3, device=DEVICE, replay=replay)
    for key, value in here.net.state_dict().items():
        assert torch.allclose(value.float(), there.net.state_dict()[key].cpu().float(), atol=1e-4)


def test_the_device_refuses_what_a_gpu_refuses():
    with SimulatedDevice():
        here, there = torch.arange(3), torch.arange(3, device=DEVICE)
        assert (there + 1).cpu().tolist() == (there + torch.tensor(1)).tolist() == [1, 2, 3]
        assert there[here].tolist() == [0, 1, 2]
        with pytest.raises(RuntimeError, match="two devices"):
            there + here
        with pytest.raises(RuntimeError, match="another device"):
            torch.empty(3, device=DEVICE).normal_(generator=seeded_generator(0))
