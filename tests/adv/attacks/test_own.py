"""Attacks of the user's in a battery: any callable, or a class with `start` and `step`."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from adv import L1, Battery, Linf, OwnAttack, Split, Worst, evaluate

BALL = Linf(0.1)


class Threshold(nn.Module):
    """Says 1 if the mean of the image is above a half."""

    def forward(self, x: Tensor) -> Tensor:
        above = x.flatten(1).mean(1) - 0.5
        return torch.stack([-above, above], 1)


def darken(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Darken each image as far as its ball allows."""
    return (x - 0.1).clamp(0, 1)


darken.ball = BALL  # type: ignore[attr-defined]


class InSteps:
    """The same in steps, as a class of somebody who knows nothing of ours."""

    ball, steps = BALL, 10

    def start(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return x

    def step(self, model: nn.Module, state: Tensor) -> Tensor:
        return (state - 0.01).clamp(0, 1)


@pytest.fixture(scope="module")
def split() -> Split:
    """Return ten images of class 1, of rising brightness, half of them within .1 of the border."""
    values = torch.linspace(130, 178, 10).round().to(torch.uint8)
    return Split(values[:, None, None, None].expand(10, 3, 4, 4).clone(), torch.ones(10).long())


@pytest.mark.parametrize(
    "attack", [darken, InSteps(), OwnAttack(darken, BALL), Worst((OwnAttack(darken),))]
)
def test_any_callable_attacks_in_a_battery(attack, split):
    score = evaluate(Threshold(), split, Battery((("mine", attack),)))
    expected = split.images.float().flatten(1).mean(1) / 255 - 0.1 > 0.5
    assert torch.equal(score.ok[1], expected) and 0 < expected.sum() < 10
    assert score.eps == (0.1,)


def test_it_may_draw_from_the_global_generator_and_gives_the_same_images_again(split):
    def noise(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return (x + 0.1 * (2 * torch.rand_like(x) - 1)).clamp(0, 1)

    attack = OwnAttack(noise, BALL)
    before = torch.get_rng_state()
    x, y = split.images.float() / 255, split.labels
    first, second = attack(Threshold(), x, y), attack(Threshold(), x, y)
    assert torch.equal(first, second) and not torch.equal(first, x)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda model, x, y: x - 0.2, "returns an image 0.2 away, outside Linf(eps=0.1)"),
        (lambda model, x, y: x + 2, "returns pixels from 2.51 to 2.7, outside [0, 1]"),
        (lambda model, x, y: x[:1], "returns [1, 3, 4, 4], not images [10, 3, 4, 4]"),
        (lambda model, x, y: None, "returns NoneType, not images"),
        (lambda model, x, y: x * float("nan"), "returns numbers that are not finite"),
    ],
)
def test_what_is_no_image_of_the_ball_does_not_count(function, said, split):
    attack = OwnAttack(function, BALL, name="mine")
    with pytest.raises(ValueError, match=re.escape(f"the attack mine {said}")):
        attack(Threshold(), split.images.float() / 255, split.labels)


@pytest.mark.parametrize(
    ("attacks", "said"),
    [
        ((), "a battery needs attacks"),
        ((("a", darken), ("a", darken)), "a battery needs attacks with different names"),
        ((("a", lambda model, x, y: x),), "ball is Linf(eps), L2(eps) or L1(eps), got None"),
        ((("a", 3),), "an attack is called with a model, images and labels: 3"),
        ((darken,), "a battery has pairs of a name and an attack"),
        ((("a", SimpleNamespace(start=1, step=2, ball=L1(1.0))),), "has no steps"),
    ],
)
def test_what_is_no_battery(attacks, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        Battery(attacks)


def test_a_record_of_it_does_not_change_from_one_run_to_the_next():
    from adv.attacks.settings import format_settings

    text = format_settings(OwnAttack(darken))
    assert text == "OwnAttack(ball=Linf(eps=0.1), name='darken')"
    assert json.dumps(text)
