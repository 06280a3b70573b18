"""LIET beside its description, written by hand in plain PyTorch."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from reproducibility import seeded_generator
from small_nets import BatchNormNet

from adv import FGSM, LIET, Batch, Lesson, Linf, Recipe, build
from adv.models import Normalize
from adv.training.liet import jensen_shannon


@pytest.fixture
def problem(digits):
    """A net in training mode, and images and labels of the training split."""
    split = digits.train.head(16)
    net = build(Recipe(net=BatchNormNet()), 10, 3)
    next(m for m in net.modules() if isinstance(m, Normalize)).fit(split.images)
    return net, split


def make_batch(split, objective: LIET, eps: float, number: int = 0) -> Batch:
    return Batch(
        *(split.images.float() / 255, split.labels, Lesson(FGSM(Linf(eps)))),
        generator=seeded_generator(1),
        number=number,
        memory=objective.memory(split, 10),
    )


def label_signs(net, eps: float) -> torch.Tensor:
    grey = torch.full((10, 3, 32, 32), 0.5, requires_grad=True)
    (slope,) = torch.autograd.grad(F.cross_entropy(net(grey), torch.arange(10)), grey)
    return eps * slope.sign()


def divergence(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    p, q = first.softmax(1), second.softmax(1)
    middle = ((p + q) / 2).log()
    sides = [F.kl_div(middle, side, reduction="batchmean") for side in (p, q)]
    return (sides[0] + sides[1]) / 2


@pytest.mark.parametrize("eps", [0.02, 8 / 255, 0.05])
def test_an_update_by_hand(problem, eps):
    """The start, one step, and the loss; above 8/255 wider noise, and no projection."""
    net, split = problem
    objective = LIET(40.0)
    batch, twin = make_batch(split, objective, eps), copy.deepcopy(net)
    both = objective.attack(net, batch)
    outcome = objective.backward(net, batch, both)

    wide = eps > 0.0314
    twin.eval()
    change, draw = label_signs(twin, eps)[batch.y], seeded_generator(1)
    share, coin = torch.rand(2, generator=draw).tolist()
    replaced = torch.rand(change.shape, generator=draw) < 0.1 + 0.4 * share
    noise = (2 * torch.rand(change.shape, generator=draw) - 1) * (2 * eps if wide else eps)
    change[replaced] = noise[replaced]
    start = (batch.x + (1 if coin < 0.5 else -1) * change).clamp(0, 1).requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(twin(start), batch.y), start)
    moved = start.detach() + eps * slope.sign()
    if not wide:
        moved = torch.min(torch.max(moved, batch.x - eps), batch.x + eps)
    adv, begun = both.split(16)
    assert torch.allclose(begun, start, atol=1e-6)
    assert (adv - moved.clamp(0, 1)).abs().gt(1e-5).float().mean() < 0.002
    assert ((adv - batch.x).abs().max() > 1.5 * eps) == wide
    twin.train()
    before, after = twin(begun), twin(adv)
    loss = F.cross_entropy(after, batch.y) + 40 * divergence(before, after)
    loss.backward()
    assert outcome.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    for mine, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-5, rtol=1e-3)


def test_label_information_is_that_of_every_twentieth_update(problem):
    net, split = problem
    objective = LIET()
    batch = make_batch(split, objective, 0.03, number=1)
    objective.attack(net, batch)
    signs = batch.memory["label_signs"]
    assert not signs.any()
    batch = make_batch(split, objective, 0.03, number=20)
    objective.attack(net, batch)
    assert torch.equal(0.03 * batch.memory["label_signs"], label_signs(net.eval(), 0.03))
    assert batch.memory["label_signs"].any()


def test_shares_of_replaced_pixels(problem):
    """None: every pixel is at the end of its range. All: the label is gone."""
    _, split = problem
    for share, corners in ((0.0, 1.0), (1.0, 0.0), (0.25, 0.75)):
        objective = LIET(least=share, most=share)
        batch = make_batch(split, objective, 0.03)
        signs = torch.ones(10, 3, 32, 32)
        grey = torch.full_like(batch.x, 0.5)
        start = objective._start(replace(batch, x=grey), signs[batch.y])
        far = ((start - 0.5).abs() > 0.03 - 1e-6).float().mean().item()
        assert far == pytest.approx(corners, abs=0.01)


def test_jensen_shannon_in_closed_form():
    """Certain and contrary answers are log 2 apart, also where probabilities underflow."""
    certain = torch.tensor([[0.0, -1e4], [0.0, 0.0]], requires_grad=True)
    contrary = torch.tensor([[-1e4, 0.0], [0.0, 0.0]])
    found = jensen_shannon(certain, contrary)
    assert found.tolist() == pytest.approx([torch.log(torch.tensor(2.0)).item(), 0], abs=1e-6)
    found.sum().backward()
    assert certain.grad is not None and certain.grad.isfinite().all()
    logits = torch.randn(2, 5, 7, generator=seeded_generator(0))
    mean = jensen_shannon(logits[0], logits[1]).mean().item()
    assert mean == pytest.approx(divergence(logits[0], logits[1]).item(), rel=1e-5)
