"""Our attacks against torchattacks and foolbox: the same start gives the same image, each pixel."""

from __future__ import annotations

import eagerpy
import foolbox
import pytest
import torch
import torchattacks
from reproducibility import seeded_generator
from torch import nn

from adv import FGSM, L2, PGD, BaseNet, BigNet, Linf, frozen
from adv.attacks.attack import begin

N = 8  # A power of 2: torchattacks averages the loss, and dividing by it is exact.


@pytest.fixture(scope="module", params=[BaseNet(), BigNet()], ids=["BaseNet", "BigNet"])
def problem(request):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net: nn.Module = request.param(10).eval()
        x = torch.rand(N, 3, 32, 32)
    x[:, :, :8] = x[:, :, :8].round()  # pixels at their limits
    return net, x, net(x).argmax(1)


def from_start(attack: PGD, net, x, y, start):
    """The attack from a given point: it is a start and a step."""
    state = begin(x, y, start, seeded_generator())
    with frozen(net):
        for _ in range(attack.steps):
            state = attack.step(net, state)
    return state.adv


def agree(ours: torch.Tensor, theirs: torch.Tensor, x: torch.Tensor) -> None:
    assert (theirs - x).abs().amax((1, 2, 3)).min() > 0.001
    assert torch.allclose(ours, theirs, atol=2e-6, rtol=0)


def their_start(ball, x):
    """Where torchattacks begins, drawn from torch's global generator as it does."""
    if isinstance(ball, Linf):
        return (x + torch.empty_like(x).uniform_(-ball.eps, ball.eps)).clamp(0, 1)
    delta = torch.empty_like(x).normal_()
    length = delta.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    delta *= torch.zeros_like(length).uniform_(0, 1) / length * ball.eps
    return (x + delta).clamp(0, 1)


PEERS = [(Linf(0.03), 0.008, torchattacks.PGD), (L2(0.5), 0.1, torchattacks.PGDL2)]


@pytest.mark.parametrize(("ball", "step", "peer"), PEERS, ids=["linf", "l2"])
@pytest.mark.parametrize("start", ["the image", "a random point"])
def test_pgd_is_that_of_torchattacks(problem, ball, step, peer, start):
    net, x, y = problem
    random = start == "a random point"
    attack = PGD(ball, steps=10, step_size=step, random_start=random)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        theirs = peer(net, eps=ball.eps, alpha=step, steps=10, random_start=random)(x, y)
        torch.manual_seed(11)
        ours = from_start(attack, net, x, y, their_start(ball, x)) if random else attack(net, x, y)
    agree(ours, theirs, x)


@pytest.mark.parametrize(
    ("ball", "step", "peer"),
    [(Linf(0.03), 0.008, foolbox.attacks.LinfPGD), (L2(0.5), 0.1, foolbox.attacks.L2PGD)],
    ids=["linf", "l2"],
)
@pytest.mark.parametrize("start", ["the image", "a random point"])
def test_pgd_is_that_of_foolbox(problem, monkeypatch, ball, step, peer, start):
    net, x, y = problem
    random = start == "a random point"
    attack = PGD(ball, steps=10, step_size=step, random_start=random)
    theirs = peer(abs_stepsize=step, steps=10, random_start=random)
    begun = attack.start(x, y, seeded_generator(4)).adv
    assert torch.equal(begun, x) != random
    monkeypatch.setattr(theirs, "get_random_start", lambda x0, eps: eagerpy.astensor(begun))
    made = theirs.run(foolbox.PyTorchModel(net, bounds=(0, 1)), x, y, epsilon=ball.eps)
    agree(attack(net, x, y, generator=seeded_generator(4)), made, x)


def test_fgsm_is_that_of_torchattacks(problem):
    net, x, y = problem
    agree(FGSM(Linf(0.03))(net, x, y), torchattacks.FGSM(net, eps=0.03)(x, y), x)


@pytest.mark.parametrize(
    ("ball", "peer"),
    [
        (Linf(0.03), foolbox.attacks.LinfFastGradientAttack),
        (L2(0.5), foolbox.attacks.L2FastGradientAttack),
    ],
    ids=["linf", "l2"],
)
def test_fgsm_is_that_of_foolbox(problem, ball, peer):
    net, x, y = problem
    made = peer().run(foolbox.PyTorchModel(net, bounds=(0, 1)), x, y, epsilon=ball.eps)
    agree(FGSM(ball)(net, x, y), made, x)


def test_a_relative_step_is_that_of_foolbox(problem):
    net, x, y = problem
    theirs = foolbox.attacks.LinfPGD(rel_stepsize=0.2, steps=5, random_start=False)
    made = theirs.run(foolbox.PyTorchModel(net, bounds=(0, 1)), x, y, epsilon=0.02)
    agree(PGD(Linf(0.02), steps=5, pace=0.2, random_start=False)(net, x, y), made, x)
