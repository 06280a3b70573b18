"""PMA, its loss and its steps, and the normalised cross-entropy of MIFPE, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from reproducibility import seeded_generator
from small_nets import self_labelled_problem
from torch import nn

from adv import L2, PGD, PMA, Linf, ProbabilityMargin, frozen
from adv.attacks.gradient import loss_and_grad
from adv.attacks.losses import normalized_cross_entropy, probability_margin
from adv.attacks.step_schedule import cosine_cycles
from adv.evaluation.engine.rows import concatenate

LOGITS = torch.tensor([[5.0, 1.0, 3.0, 2.0, -4.0]])


@pytest.mark.parametrize(("label", "scale"), [(0, 2.0), (2, 2.0), (4, 2.0)])
def test_normalised_cross_entropy_by_hand(label, scale):
    """The two largest logits, 5 and 3, stand 1 apart once all are halved."""
    wanted = math.log(sum(math.exp((z - LOGITS[0, label].item()) / scale) for z in LOGITS[0]))
    for factor in (1e-4, 1.0, 1e4):
        found = normalized_cross_entropy(factor * LOGITS, torch.tensor([label])).item()
        assert found == pytest.approx(wanted, rel=1e-3)


def test_equal_logits_give_finite_gradients():
    logits = torch.tensor([[2.0, 2.0, 1.0], [0.0, 0.0, 0.0], [1e5, 1e5, -1e5]]).requires_grad_()
    loss = normalized_cross_entropy(logits, torch.tensor([0, 1, 2]))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert torch.isfinite(gradient).all() and (gradient.abs().amax(1) > 0).all()


@pytest.mark.parametrize("label", [0, 2])
def test_probability_margin_by_hand(label):
    likely = torch.softmax(LOGITS, 1)[0]
    others = [likely[k].item() for k in range(5) if k != label]
    found = probability_margin(LOGITS, torch.tensor([label])).item()
    assert found == pytest.approx(max(others) - likely[label].item())


def test_normalised_cross_entropy_is_unaffected_by_loud_logits():
    """Times 1e4 the cross-entropy and the probability margin lose their slope, MIFPE does not."""
    net, x, y = self_labelled_problem(48)

    class Loud(nn.Module):
        def forward(self, x):
            return 1e4 * net(x)

    left = {}
    for loss in ("ce", "probability-margin", "mifpe"):
        for loud in (False, True):
            attack = PGD(Linf(0.01), 20, pace=2.0, schedule="cosine", loss=loss)
            adv = attack(Loud() if loud else net, x, y, generator=seeded_generator())
            left[loss, loud] = int((net(adv).argmax(1) == y).sum())
    assert abs(left["mifpe", True] - left["mifpe", False]) <= 1
    for loss in ("ce", "probability-margin"):
        assert left[loss, True] > left[loss, False] + 10


def test_steps_fall_twice_from_full_length_to_0():
    """By hand for 4 and 5 steps: (1 + cos(pi i / 2)) / 2, and with 3 steps in the first cycle."""
    for steps, wanted in ((1, [1]), (4, [1, 0.5, 1, 0.5]), (5, [1, 0.75, 0.25, 1, 0.5])):
        found = cosine_cycles(torch.arange(steps), steps)
        assert found.tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("ball", [Linf(0.03), L2(0.4)], ids=repr)
@pytest.mark.parametrize("first", ["right", "wrong"])
def test_a_run_is_that_of_the_paper(ball, first):
    """Away from the boundary, then one term, then both, with steps of eps (1 + cos)."""
    net, x, y = self_labelled_problem(12)
    attack = ProbabilityMargin(ball, 8, first)
    state = attack.start(x, y, seeded_generator())
    adv = state.adv

    def right(logits, y):
        return logits.softmax(1).gather(1, y[:, None])[:, 0]

    def wrong(logits, y):
        others = [[k for k in range(logits.shape[1]) if k != label] for label in y.tolist()]
        return logits.softmax(1).gather(1, torch.tensor(others)).amax(1)

    early = {"right": lambda z, y: -right(z, y), "wrong": wrong}[first]
    with frozen(net):
        for i in range(8):
            loss = right if i == 0 else early if i < 4 else lambda z, y: wrong(z, y) - right(z, y)
            gradient = loss_and_grad(net, adv, y, loss).gradient
            size = ball.eps * (1 + math.cos(math.pi * (i % 4) / 4))
            adv = ball.project(ball.ascend(adv, gradient, size), x)
            state = attack.step(net, state)
    assert torch.allclose(state.adv, adv, atol=1e-5)


def test_images_of_different_ages_share_a_batch():
    net, x, y = self_labelled_problem(12)
    attack = ProbabilityMargin(Linf(0.03), 6)
    begun = attack.start(x, y, seeded_generator())
    with frozen(net):
        alone = begun
        for _ in range(6):
            alone = attack.step(net, alone)
        late = begun.keep(torch.arange(4, 12))
        early = begun.keep(torch.arange(4))
        for _ in range(3):
            early = attack.step(net, early)
        both = concatenate([early, late])
        for _ in range(3):
            both = attack.step(net, both)
    assert torch.allclose(both.adv[:4], alone.adv[:4], atol=1e-6)


def test_both_runs_are_a_cascade():
    runs = PMA(Linf(0.1), 10).attacks
    assert runs == tuple(ProbabilityMargin(Linf(0.1), 10, first) for first in ("right", "wrong"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 1}, "steps must be 2 or more, got 1"),
        ({"first": "both"}, "first is 'right' or 'wrong', got 'both'"),
    ],
)
def test_invalid_settings_of_pma_are_rejected(settings, said):
    with pytest.raises(ValueError, match=said):
        ProbabilityMargin(Linf(0.1), **settings)
