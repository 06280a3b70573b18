"""NuAT and GAT beside their formulas, written by hand in plain PyTorch."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from reproducibility import seeded_generator
from small_nets import BatchNormNet
from torch import Tensor, nn

from adv import FGSM, GAT, L2, LIET, PGI, Batch, Lesson, Linf, NuAT, Objective, Recipe, build

EPS = 0.05
W = 3.0


@pytest.fixture
def problem(digits):
    """A net in training mode, and a batch of 16 images."""
    split = digits.train.head(16)
    return build(Recipe(net=BatchNormNet()), 10, 3), (split.images.float() / 255, split.labels)


def nuclear(clean: Tensor, adversarial: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(clean - adversarial, "nuc")


def squares(clean: Tensor, adversarial: Tensor) -> Tensor:
    return ((clean.softmax(1) - adversarial.softmax(1)) ** 2).sum()


OBJECTIVES = {"nuat": (NuAT(W), nuclear), "gat": (GAT(W), squares)}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(("objective", "term"), OBJECTIVES.values(), ids=OBJECTIVES)
def test_an_update_by_hand(problem, objective, term, number):
    """A corner of half the ball, one step on the loss of every second batch, and the update."""
    net, (x, y) = problem
    twin = copy.deepcopy(net)
    batch = Batch(x, y, Lesson(FGSM(Linf(EPS))), generator=seeded_generator(1), number=number)
    adv = objective.attack(net, batch)
    outcome = objective.backward(net, batch, adv)

    corner = torch.randint(0, 2, x.shape, generator=seeded_generator(1)) - 0.5
    start = (x + EPS * corner).clamp(0, 1).requires_grad_()
    twin.eval()
    z = twin(start)
    loss = F.cross_entropy(z, y) + (W * term(twin(x), z) / 16 if number else 0)
    (slope,) = torch.autograd.grad(loss, start)
    moved = start.detach() + EPS * slope.sign()
    expected = torch.min(torch.max(moved, x - EPS), x + EPS).clamp(0, 1)
    assert (adv - expected).abs().gt(1e-5).float().mean() < 0.002  # a slope of 0 but for rounding
    twin.train()
    clean, attacked = twin(x), twin(adv)
    (F.cross_entropy(clean, y) + W * term(clean, attacked) / 16).backward()
    for mine, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-5, rtol=1e-3)
    assert torch.equal(outcome.clean, clean) and torch.equal(outcome.adv, attacked)


def test_the_terms_in_closed_form():
    """Singular values of a diagonal matrix; probabilities of logits 0 and log 3."""
    zero, logits = torch.zeros(3, 3), torch.diag(torch.tensor([3.0, -4.0, 0.0]))
    assert NuAT().term(zero, logits).item() == pytest.approx(7)
    even, odd = torch.zeros(2, 2), torch.tensor([[0.0, 3.0], [3.0, 0.0]]).clamp(min=1).log()
    assert GAT().term(even, odd).item() == pytest.approx(2 * 2 * 0.25**2)


def test_published_weights():
    for objective, weights in ((NuAT(), (0, 2, 4)), (GAT(), (10,) * 3), (LIET(), (0, 50, 100))):
        assert [objective.term_weight(t) for t in (0, 0.5, 1)] == pytest.approx(weights)
    assert PGI().term_weight(0.3) == 10 and NuAT().phase(0.1) is None


def test_the_weight_is_that_of_the_moment(problem):
    net, (x, y) = problem
    objective, lesson = NuAT(), Lesson(FGSM(Linf(EPS)))
    net.eval()  # equal statistics in each pass

    def loss(t: float, weight: Tensor | None = None) -> float:
        batch = Batch(x, y, lesson, t, term_weight=weight)
        return objective.forward(net, batch, x + 0.01).loss.item()

    assert loss(1) - loss(0.5) == pytest.approx(loss(0.5) - loss(0), rel=1e-2) != 0
    assert loss(0.5, torch.tensor(4.0)) == loss(1)


@pytest.mark.parametrize("objective", [LIET(), PGI()], ids=repr)
def test_a_batch_without_the_memory_is_refused_in_one_line(problem, objective: Objective):
    net, (x, y) = problem
    with pytest.raises(ValueError, match=r"memory = objective.memory\(split, classes\)") as error:
        objective.attack(net, Batch(x, y, Lesson(FGSM(Linf(EPS)))))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("objective", [LIET(), PGI()], ids=repr)
def test_an_l2_ball_is_refused_where_signs_are_kept(problem, objective: Objective, digits):
    net: nn.Module
    net, (x, y) = problem
    memory = objective.memory(digits.train.head(16), 10)
    batch = Batch(x, y, Lesson(FGSM(L2(1.0))), memory=memory, indices=torch.arange(16))
    with pytest.raises(ValueError, match=r"needs a lesson with an Linf ball, got L2\(eps=1.0\)"):
        objective.attack(net, batch)
