"""Starts from a prior beside the paper's formulas, and what is kept between updates."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from reproducibility import bit_equal, save_and_load, seeded_generator
from small_nets import BatchNormNet
from torch import Tensor

from adv import FGSM, PGI, SGD, Batch, Curriculum, Lesson, Linf, Ramp, Recipe, build, train

EPS, W = 0.05, 10.0


@pytest.fixture
def problem(digits):
    """A net in training mode, and a training split of 12 images."""
    return build(Recipe(net=BatchNormNet()), 10, 3), digits.train.head(12)


def make_batch(split, memory, rows, **changes) -> Batch:
    rows = torch.tensor(rows)
    x, y = split.images[rows].float() / 255, split.labels[rows]
    lesson = Lesson(FGSM(Linf(changes.pop("eps", EPS))))
    settings = {"generator": seeded_generator(1), "indices": rows, "memory": memory, **changes}
    return Batch(x, y, lesson, **settings)


def clip(change: Tensor) -> Tensor:
    return change.clamp(-EPS, EPS)


@pytest.mark.parametrize("kept", [0.3, 0.0])
def test_three_updates_by_hand(problem, kept):
    """The perturbation of each image, its momentum and the loss, as the paper has them."""
    net, split = problem
    objective = PGI(W, momentum=kept)
    memory = objective.memory(split, 10)
    signs = 2 * torch.randint(0, 2, (12, 3, 32, 32), generator=seeded_generator(1)) - 1
    delta, momentum = EPS * signs, torch.zeros(12, 3, 32, 32)
    for number, rows in enumerate(([3, 1, 7, 5], [2, 3, 7, 0], [7, 3, 9, 1])):
        batch, twin = make_batch(split, memory, rows, number=number), copy.deepcopy(net)
        both = objective.attack(net, batch)
        outcome = objective.backward(net, batch, both)
        adv, begun = both.split(4)

        start = (batch.x + delta[rows]).clamp(0, 1).requires_grad_()
        loss = F.cross_entropy(twin.eval()(start), batch.y)
        (slope,) = torch.autograd.grad(loss, start)
        expected = (batch.x + clip(delta[rows] + EPS * slope.sign())).clamp(0, 1)
        momentum[rows] = slope / slope.norm(p=1) + kept * momentum[rows]
        delta[rows] = clip(delta[rows] + EPS * momentum[rows].sign())
        assert torch.allclose(begun, start, atol=1e-6)
        assert (adv - expected).abs().gt(1e-5).float().mean() < 0.002
        apart = (EPS * memory["perturbation"] - delta).abs().gt(1e-5).float().mean()
        assert apart < 0.002, "signs of a slope that is 0 but for rounding"
        assert torch.allclose(memory["momentum"], momentum, atol=1e-8, rtol=1e-2)
        delta, momentum = EPS * memory["perturbation"], memory["momentum"].clone()
        twin.train()
        before, after = twin(begun), twin(adv)
        loss = F.cross_entropy(after, batch.y) + W * ((after - before) ** 2).mean()
        assert outcome.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    assert set(memory["perturbation"].unique().tolist()) == {-1, 0, 1}


def test_perturbations_are_drawn_anew_at_the_beginning_of_an_epoch(problem):
    net, split = problem
    objective = PGI(reset=0.4)
    memory = objective.memory(split, 10)

    def after(t: float, number: int) -> dict[str, Tensor]:
        objective.attack(net, make_batch(split, memory, [0], elapsed=t, number=number))
        return copy.deepcopy(memory)

    first, same, late, second, third = (
        after(t, number) for t, number in ((0, 0), (0.3, 0), (0.45, 3), (0.5, 0), (0.8, 0))
    )
    assert [int(it["drawn"]) for it in (first, same, late, second, third)] == [1, 1, 1, 2, 3]
    assert (first["perturbation"][1:] != 0).all()
    assert torch.equal(first["perturbation"][1:], late["perturbation"][1:])
    assert not second["momentum"][1:].any() and second["momentum"][0].any()


def test_the_radius_may_change(problem):
    """Perturbations are kept in units of eps; a radius of 0 leaves images as they are."""
    net, split = problem
    objective = PGI()
    memory = objective.memory(split, 10)
    for eps in (0.0, 0.01, 0.1):
        batch = make_batch(split, memory, [4, 5], eps=eps)
        adv, start = objective.attack(net, batch).split(2)
        for images in (adv, start):
            assert (images - batch.x).abs().max() <= eps + 1e-6
        assert bool((adv - batch.x).any()) == (eps > 0)


def test_a_training_resumes_with_every_perturbation(digits):
    """Bit for bit from each of its epochs, in which the memory is part of the state."""
    recipe = Recipe(
        net=BatchNormNet(),
        optimizer=SGD(lr=0.01),
        curriculum=Curriculum(eps=Ramp(0.0, 0.06, until=0.5), kind="fgsm"),
        objective=PGI(reset=0.5),
        epochs=4,
        batch=16,
    )
    split = digits.train.head(40)
    states = [epoch.state() for epoch in train(recipe, split, classes=10, seed=2)]
    kept = [state["memory"]["perturbation"] for state in states]
    assert not any(torch.equal(a, b) for a, b in pairwise(kept))
    for state in states[:-1]:
        *_, last = train(recipe, split, classes=10, seed=2, state=save_and_load(state))
        assert bit_equal(last.state(), states[-1])
